#include "textflag.h"

DATA roundVertical<>+0(SB)/4, $128 // half of 1<<(weightBits-midBits)
GLOBL roundVertical<>(SB), RODATA|NOPTR, $4
DATA roundHorizontal<>+0(SB)/4, $524288 // half of 1<<(weightBits+midBits)
GLOBL roundHorizontal<>(SB), RODATA|NOPTR, $4

// func verticalAVX2(dst *int16, src *byte, n, stride int, weights *int16, count int)
//
// 16 samples a turn: bytes of two rows are interleaved and widened, so that VPMADDWD adds both products.
TEXT ·verticalAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ stride+24(FP), R8
	MOVQ weights+32(FP), R9
	MOVQ count+40(FP), R10
	VPBROADCASTD roundVertical<>(SB), Y15

columns:
	VMOVDQA Y15, Y0 // sums of the samples 0-7
	VMOVDQA Y15, Y1 // and 8-15
	MOVQ SI, R11
	MOVQ R9, R12
	MOVQ R10, R13

pairs:
	CMPQ R13, $2
	JLT  single
	VMOVDQU (R11), X2
	VMOVDQU (R11)(R8*1), X3
	VPBROADCASTD (R12), Y6
	VPUNPCKLBW X3, X2, X4
	VPUNPCKHBW X3, X2, X5
	VPMOVZXBW X4, Y4
	VPMOVZXBW X5, Y5
	VPMADDWD Y6, Y4, Y4
	VPMADDWD Y6, Y5, Y5
	VPADDD Y4, Y0, Y0
	VPADDD Y5, Y1, Y1
	LEAQ (R11)(R8*2), R11
	ADDQ $4, R12
	SUBQ $2, R13
	JMP  pairs

single:
	TESTQ R13, R13
	JZ   store
	VMOVDQU (R11), X2
	MOVWLZX (R12), AX // the weight that follows is taken as zero
	VMOVD AX, X6
	VPBROADCASTD X6, Y6
	VPUNPCKLBW X2, X2, X4
	VPUNPCKHBW X2, X2, X5
	VPMOVZXBW X4, Y4
	VPMOVZXBW X5, Y5
	VPMADDWD Y6, Y4, Y4
	VPMADDWD Y6, Y5, Y5
	VPADDD Y4, Y0, Y0
	VPADDD Y5, Y1, Y1

store:
	VPSRAD $8, Y0, Y0
	VPSRAD $8, Y1, Y1
	VPACKSSDW Y1, Y0, Y0
	VPERMQ $0xd8, Y0, Y0 // the packing works in halves of the register
	VMOVDQU Y0, (DI)
	ADDQ $32, DI
	ADDQ $16, SI
	SUBQ $16, CX
	JNZ  columns
	VZEROUPPER
	RET

// func horizontalAVX2(dst *byte, src *int16, from *int32, weights *int16, n, groups int)
TEXT ·horizontalAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ from+16(FP), R8
	MOVQ weights+24(FP), R9
	MOVQ n+32(FP), CX
	MOVQ groups+40(FP), R10
	VPBROADCASTD roundHorizontal<>(SB), X15
	MOVQ R10, R14
	SHLQ $5, R14 // bytes of the weights of a sample

samples:
	MOVLQSX (R8), AX
	MOVLQSX 4(R8), BX
	MOVLQSX 8(R8), DX
	MOVLQSX 12(R8), R11
	LEAQ (SI)(AX*2), AX
	LEAQ (SI)(BX*2), BX
	LEAQ (SI)(DX*2), DX
	LEAQ (SI)(R11*2), R11
	LEAQ (R9)(R14*2), R12 // weights of the third sample
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	MOVQ R10, R13

group:
	VMOVDQU (AX), Y4
	VMOVDQU (BX), Y5
	VMOVDQU (DX), Y6
	VMOVDQU (R11), Y7
	VPMADDWD (R9), Y4, Y4
	VPMADDWD (R9)(R14*1), Y5, Y5
	VPMADDWD (R12), Y6, Y6
	VPMADDWD (R12)(R14*1), Y7, Y7
	VPADDD Y4, Y0, Y0
	VPADDD Y5, Y1, Y1
	VPADDD Y6, Y2, Y2
	VPADDD Y7, Y3, Y3
	ADDQ $32, AX
	ADDQ $32, BX
	ADDQ $32, DX
	ADDQ $32, R11
	ADDQ $32, R9
	ADDQ $32, R12
	DECQ R13
	JNZ  group

	VPHADDD Y1, Y0, Y0
	VPHADDD Y3, Y2, Y2
	VPHADDD Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VPADDD X15, X0, X0
	VPSRAD $20, X0, X0
	VPACKSSDW X0, X0, X0
	VPACKUSWB X0, X0, X0
	VMOVD X0, (DI)
	ADDQ $4, DI
	ADDQ $16, R8
	LEAQ (R14)(R14*2), AX
	ADDQ AX, R9 // the loop has moved it by the first of four already
	SUBQ $4, CX
	JNZ  samples
	VZEROUPPER
	RET
