// Package dofn registers DoFns, so that Beam calls their ProcessElement without reflection, which costs 0.6 µs a call.
//
// Beam's register.DoFn functions do so, too, but also for StartBundle and FinishBundle, which may take any part of
// ProcessElement's parameters: they make code for each such part, thousands of functions a DoFn, and 120 MB of the
// program. Here what is called once a bundle goes through reflection.
package dofn

import (
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/reflectx"
)

// register registers a DoFn, a pointer to a struct with its timers and states named, which Beam looks at, and how to get
// ProcessElement of a value of its type.
func register(fn any, process func(fn any) reflectx.Func) {
	beam.RegisterDoFn(fn)
	reflectx.RegisterStructWrapper(reflect.TypeOf(fn).Elem(), func(fn any) map[string]reflectx.Func {
		return map[string]reflectx.Func{"ProcessElement": process(fn)}
	})
}

type process1x0[A any] interface{ ProcessElement(A) }

// Register1x0 registers a DoFn whose ProcessElement has one parameter and no result.
func Register1x0[A any](fn process1x0[A]) {
	register(fn, func(fn any) reflectx.Func { return func1x0[A](fn.(process1x0[A]).ProcessElement) })
}

type func1x0[A any] func(A)

func (fn func1x0[A]) Name() string { return reflectx.FunctionName(fn) }

func (fn func1x0[A]) Type() reflect.Type { return reflect.TypeFor[func(A)]() }

func (fn func1x0[A]) Call(a []any) []any {
	fn.Call1x0(a[0])
	return nil
}

func (fn func1x0[A]) Call1x0(a any) { fn(a.(A)) }

type process3x0[A, B, C any] interface{ ProcessElement(A, B, C) }

// Register3x0 registers a DoFn whose ProcessElement has three parameters and no result.
func Register3x0[A, B, C any](fn process3x0[A, B, C]) {
	register(fn, func(fn any) reflectx.Func { return func3x0[A, B, C](fn.(process3x0[A, B, C]).ProcessElement) })
}

type func3x0[A, B, C any] func(A, B, C)

func (fn func3x0[A, B, C]) Name() string { return reflectx.FunctionName(fn) }

func (fn func3x0[A, B, C]) Type() reflect.Type { return reflect.TypeFor[func(A, B, C)]() }

func (fn func3x0[A, B, C]) Call(a []any) []any {
	fn.Call3x0(a[0], a[1], a[2])
	return nil
}

func (fn func3x0[A, B, C]) Call3x0(a, b, c any) { fn(a.(A), b.(B), c.(C)) }

type process4x0[A, B, C, D any] interface{ ProcessElement(A, B, C, D) }

// Register4x0 registers a DoFn whose ProcessElement has four parameters and no result.
func Register4x0[A, B, C, D any](fn process4x0[A, B, C, D]) {
	register(fn, func(fn any) reflectx.Func { return func4x0[A, B, C, D](fn.(process4x0[A, B, C, D]).ProcessElement) })
}

type func4x0[A, B, C, D any] func(A, B, C, D)

func (fn func4x0[A, B, C, D]) Name() string { return reflectx.FunctionName(fn) }

func (fn func4x0[A, B, C, D]) Type() reflect.Type { return reflect.TypeFor[func(A, B, C, D)]() }

func (fn func4x0[A, B, C, D]) Call(a []any) []any {
	fn.Call4x0(a[0], a[1], a[2], a[3])
	return nil
}

func (fn func4x0[A, B, C, D]) Call4x0(a, b, c, d any) { fn(a.(A), b.(B), c.(C), d.(D)) }

type process3x1[A, B, C, R any] interface{ ProcessElement(A, B, C) R }

// Register3x1 registers a DoFn whose ProcessElement has three parameters and one result.
func Register3x1[A, B, C, R any](fn process3x1[A, B, C, R]) {
	register(fn, func(fn any) reflectx.Func { return func3x1[A, B, C, R](fn.(process3x1[A, B, C, R]).ProcessElement) })
}

type func3x1[A, B, C, R any] func(A, B, C) R

func (fn func3x1[A, B, C, R]) Name() string { return reflectx.FunctionName(fn) }

func (fn func3x1[A, B, C, R]) Type() reflect.Type { return reflect.TypeFor[func(A, B, C) R]() }

func (fn func3x1[A, B, C, R]) Call(a []any) []any { return []any{fn.Call3x1(a[0], a[1], a[2])} }

func (fn func3x1[A, B, C, R]) Call3x1(a, b, c any) any { return fn(a.(A), b.(B), c.(C)) }

type process4x1[A, B, C, D, R any] interface{ ProcessElement(A, B, C, D) R }

// Register4x1 registers a DoFn whose ProcessElement has four parameters and one result.
func Register4x1[A, B, C, D, R any](fn process4x1[A, B, C, D, R]) {
	register(fn, func(fn any) reflectx.Func {
		return func4x1[A, B, C, D, R](fn.(process4x1[A, B, C, D, R]).ProcessElement)
	})
}

type func4x1[A, B, C, D, R any] func(A, B, C, D) R

func (fn func4x1[A, B, C, D, R]) Name() string { return reflectx.FunctionName(fn) }

func (fn func4x1[A, B, C, D, R]) Type() reflect.Type { return reflect.TypeFor[func(A, B, C, D) R]() }

func (fn func4x1[A, B, C, D, R]) Call(a []any) []any {
	return []any{fn.Call4x1(a[0], a[1], a[2], a[3])}
}

func (fn func4x1[A, B, C, D, R]) Call4x1(a, b, c, d any) any { return fn(a.(A), b.(B), c.(C), d.(D)) }

type process5x1[A, B, C, D, E, R any] interface{ ProcessElement(A, B, C, D, E) R }

// Register5x1 registers a DoFn whose ProcessElement has five parameters and one result.
func Register5x1[A, B, C, D, E, R any](fn process5x1[A, B, C, D, E, R]) {
	register(fn, func(fn any) reflectx.Func {
		return func5x1[A, B, C, D, E, R](fn.(process5x1[A, B, C, D, E, R]).ProcessElement)
	})
}

type func5x1[A, B, C, D, E, R any] func(A, B, C, D, E) R

func (fn func5x1[A, B, C, D, E, R]) Name() string { return reflectx.FunctionName(fn) }

func (fn func5x1[A, B, C, D, E, R]) Type() reflect.Type {
	return reflect.TypeFor[func(A, B, C, D, E) R]()
}

func (fn func5x1[A, B, C, D, E, R]) Call(a []any) []any {
	return []any{fn.Call5x1(a[0], a[1], a[2], a[3], a[4])}
}

func (fn func5x1[A, B, C, D, E, R]) Call5x1(a, b, c, d, e any) any {
	return fn(a.(A), b.(B), c.(C), d.(D), e.(E))
}

type process6x1[A, B, C, D, E, F, R any] interface{ ProcessElement(A, B, C, D, E, F) R }

// Register6x1 registers a DoFn whose ProcessElement has six parameters and one result.
func Register6x1[A, B, C, D, E, F, R any](fn process6x1[A, B, C, D, E, F, R]) {
	register(fn, func(fn any) reflectx.Func {
		return func6x1[A, B, C, D, E, F, R](fn.(process6x1[A, B, C, D, E, F, R]).ProcessElement)
	})
}

type func6x1[A, B, C, D, E, F, R any] func(A, B, C, D, E, F) R

func (fn func6x1[A, B, C, D, E, F, R]) Name() string { return reflectx.FunctionName(fn) }

func (fn func6x1[A, B, C, D, E, F, R]) Type() reflect.Type {
	return reflect.TypeFor[func(A, B, C, D, E, F) R]()
}

func (fn func6x1[A, B, C, D, E, F, R]) Call(a []any) []any {
	return []any{fn.Call6x1(a[0], a[1], a[2], a[3], a[4], a[5])}
}

func (fn func6x1[A, B, C, D, E, F, R]) Call6x1(a, b, c, d, e, f any) any {
	return fn(a.(A), b.(B), c.(C), d.(D), e.(E), f.(F))
}

type process5x2[A, B, C, D, E, R, S any] interface{ ProcessElement(A, B, C, D, E) (R, S) }

// Register5x2 registers a DoFn whose ProcessElement has five parameters and two results.
func Register5x2[A, B, C, D, E, R, S any](fn process5x2[A, B, C, D, E, R, S]) {
	register(fn, func(fn any) reflectx.Func {
		return func5x2[A, B, C, D, E, R, S](fn.(process5x2[A, B, C, D, E, R, S]).ProcessElement)
	})
}

type func5x2[A, B, C, D, E, R, S any] func(A, B, C, D, E) (R, S)

func (fn func5x2[A, B, C, D, E, R, S]) Name() string { return reflectx.FunctionName(fn) }

func (fn func5x2[A, B, C, D, E, R, S]) Type() reflect.Type {
	return reflect.TypeFor[func(A, B, C, D, E) (R, S)]()
}

func (fn func5x2[A, B, C, D, E, R, S]) Call(a []any) []any {
	r, s := fn.Call5x2(a[0], a[1], a[2], a[3], a[4])
	return []any{r, s}
}

func (fn func5x2[A, B, C, D, E, R, S]) Call5x2(a, b, c, d, e any) (any, any) {
	return fn(a.(A), b.(B), c.(C), d.(D), e.(E))
}

type process6x2[A, B, C, D, E, F, R, S any] interface{ ProcessElement(A, B, C, D, E, F) (R, S) }

// Register6x2 registers a DoFn whose ProcessElement has six parameters and two results.
func Register6x2[A, B, C, D, E, F, R, S any](fn process6x2[A, B, C, D, E, F, R, S]) {
	register(fn, func(fn any) reflectx.Func {
		return func6x2[A, B, C, D, E, F, R, S](fn.(process6x2[A, B, C, D, E, F, R, S]).ProcessElement)
	})
}

type func6x2[A, B, C, D, E, F, R, S any] func(A, B, C, D, E, F) (R, S)

func (fn func6x2[A, B, C, D, E, F, R, S]) Name() string { return reflectx.FunctionName(fn) }

func (fn func6x2[A, B, C, D, E, F, R, S]) Type() reflect.Type {
	return reflect.TypeFor[func(A, B, C, D, E, F) (R, S)]()
}

func (fn func6x2[A, B, C, D, E, F, R, S]) Call(a []any) []any {
	r, s := fn.Call6x2(a[0], a[1], a[2], a[3], a[4], a[5])
	return []any{r, s}
}

func (fn func6x2[A, B, C, D, E, F, R, S]) Call6x2(a, b, c, d, e, f any) (any, any) {
	return fn(a.(A), b.(B), c.(C), d.(D), e.(E), f.(F))
}
