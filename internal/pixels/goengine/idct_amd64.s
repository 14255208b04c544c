#include "textflag.h"

DATA idct4Factors<>+0(SB)/4, $5352      // r2c1
DATA idct4Factors<>+4(SB)/4, $2217      // r2c3
DATA idct4Factors<>+8(SB)/4, $128       // half of the first pass
DATA idct4Factors<>+12(SB)/4, $67371008 // bias of the second
GLOBL idct4Factors<>(SB), RODATA|NOPTR, $16

// The order that makes rows of columns of four bytes.
DATA idct4Order<>+0(SB)/8, $0x0d0905010c080400
DATA idct4Order<>+8(SB)/8, $0x0f0b07030e0a0602
GLOBL idct4Order<>(SB), RODATA|NOPTR, $16

// PASS makes X0-X3 of X0-X3, with the rounding in X6, before the shift.
#define PASS \
	VPADDD  X2, X0, X4; \
	VPSUBD  X2, X0, X5; \
	VPSLLD  $12, X4, X4; \
	VPSLLD  $12, X5, X5; \
	VPADDD  X6, X4, X4; \
	VPADDD  X6, X5, X5; \
	VPMULLD X14, X1, X7; \
	VPMULLD X15, X3, X8; \
	VPMULLD X15, X1, X9; \
	VPMULLD X14, X3, X10; \
	VPADDD  X8, X7, X7; \
	VPSUBD  X10, X9, X9; \
	VPADDD  X7, X4, X0; \
	VPADDD  X9, X5, X1; \
	VPSUBD  X9, X5, X2; \
	VPSUBD  X7, X4, X3

// func idct4AVX2(b *coefficients, out *byte, stride int)
TEXT ·idct4AVX2(SB), NOSPLIT, $0-24
	MOVQ b+0(FP), SI
	MOVQ out+8(FP), DI
	MOVQ stride+16(FP), R8
	VPBROADCASTD idct4Factors<>+0(SB), X14
	VPBROADCASTD idct4Factors<>+4(SB), X15
	VPBROADCASTD idct4Factors<>+8(SB), X6
	VMOVDQU (SI), X0
	VMOVDQU 16(SI), X1
	VMOVDQU 32(SI), X2
	VMOVDQU 48(SI), X3
	PASS
	VPSRAD $8, X0, X0
	VPSRAD $8, X1, X1
	VPSRAD $8, X2, X2
	VPSRAD $8, X3, X3

	// rows become columns
	VPUNPCKLDQ X1, X0, X4
	VPUNPCKHDQ X1, X0, X5
	VPUNPCKLDQ X3, X2, X7
	VPUNPCKHDQ X3, X2, X8
	VPUNPCKLQDQ X7, X4, X0
	VPUNPCKHQDQ X7, X4, X1
	VPUNPCKLQDQ X8, X5, X2
	VPUNPCKHQDQ X8, X5, X3

	VPBROADCASTD idct4Factors<>+12(SB), X6
	PASS
	VPSRAD $19, X0, X0
	VPSRAD $19, X1, X1
	VPSRAD $19, X2, X2
	VPSRAD $19, X3, X3
	VPACKSSDW X1, X0, X0
	VPACKSSDW X3, X2, X2
	VPACKUSWB X2, X0, X0
	VPSHUFB idct4Order<>(SB), X0, X0
	VMOVD X0, (DI)
	VPEXTRD $1, X0, (DI)(R8*1)
	LEAQ (DI)(R8*2), DI
	VPEXTRD $2, X0, (DI)
	VPEXTRD $3, X0, (DI)(R8*1)
	RET
