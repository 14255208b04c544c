package dofn_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/util/reflectx"

	"darkroom/transforms/dofn"
)

var errOdd = errors.New("odd")

// Each DoFn keeps what it was called with, so that an argument in another's place is seen.
type (
	fn1x0 struct{ got []any }
	fn3x0 struct{ got []any }
	fn4x0 struct{ got []any }
	fn3x1 struct{ got []any }
	fn4x1 struct{ got []any }
	fn5x1 struct{ got []any }
	fn6x1 struct{ got []any }
	fn5x2 struct{ got []any }
	fn6x2 struct{ got []any }
)

func (f *fn1x0) ProcessElement(a string)                { f.got = []any{a} }
func (f *fn3x0) ProcessElement(a string, b int, c bool) { f.got = []any{a, b, c} }
func (f *fn4x0) ProcessElement(a string, b int, c bool, d []byte) {
	f.got = []any{a, b, c, d}
}
func (f *fn3x1) ProcessElement(a string, b int, c bool) error {
	f.got = []any{a, b, c}
	return errOdd
}
func (f *fn4x1) ProcessElement(a string, b int, c bool, d []byte) error {
	f.got = []any{a, b, c, d}
	return nil
}
func (f *fn5x1) ProcessElement(a string, b int, c bool, d []byte, e int64) error {
	f.got = []any{a, b, c, d, e}
	return errOdd
}
func (f *fn6x1) ProcessElement(a string, b int, c bool, d []byte, e int64, g float64) error {
	f.got = []any{a, b, c, d, e, g}
	return errOdd
}
func (f *fn5x2) ProcessElement(a string, b int, c bool, d []byte, e int64) (int, error) {
	f.got = []any{a, b, c, d, e}
	return 7, errOdd
}
func (f *fn6x2) ProcessElement(a string, b int, c bool, d []byte, e int64, g float64) (int, error) {
	f.got = []any{a, b, c, d, e, g}
	return 7, nil
}

// args are what a DoFn of n parameters is called with.
func args(n int) []any { return []any{"a", 2, true, []byte("d"), int64(5), 6.0}[:n] }

func TestProcessElementIsCalledWithItsArgumentsInTheirPlaces(t *testing.T) {
	dofn.Register1x0(&fn1x0{})
	dofn.Register3x0(&fn3x0{})
	dofn.Register4x0(&fn4x0{})
	dofn.Register3x1(&fn3x1{})
	dofn.Register4x1(&fn4x1{})
	dofn.Register5x1(&fn5x1{})
	dofn.Register6x1(&fn6x1{})
	dofn.Register5x2(&fn5x2{})
	dofn.Register6x2(&fn6x2{})
	var (
		f1x0, f3x0, f4x0 = &fn1x0{}, &fn3x0{}, &fn4x0{}
		f3x1, f4x1       = &fn3x1{}, &fn4x1{}
		f5x1, f6x1       = &fn5x1{}, &fn6x1{}
		f5x2, f6x2       = &fn5x2{}, &fn6x2{}
	)
	for _, test := range []struct {
		fn   any
		got  *[]any
		in   int
		want []any
		call func(f reflectx.Func, a []any) []any // as Beam calls it for each element; it panics if f would be called by reflection
	}{
		{f1x0, &f1x0.got, 1, nil, func(f reflectx.Func, a []any) []any { f.(reflectx.Func1x0).Call1x0(a[0]); return nil }},
		{f3x0, &f3x0.got, 3, nil, func(f reflectx.Func, a []any) []any {
			f.(reflectx.Func3x0).Call3x0(a[0], a[1], a[2])
			return nil
		}},
		{f4x0, &f4x0.got, 4, nil, func(f reflectx.Func, a []any) []any {
			f.(reflectx.Func4x0).Call4x0(a[0], a[1], a[2], a[3])
			return nil
		}},
		{f3x1, &f3x1.got, 3, []any{errOdd}, func(f reflectx.Func, a []any) []any {
			return []any{f.(reflectx.Func3x1).Call3x1(a[0], a[1], a[2])}
		}},
		{f4x1, &f4x1.got, 4, []any{nil}, func(f reflectx.Func, a []any) []any {
			return []any{f.(reflectx.Func4x1).Call4x1(a[0], a[1], a[2], a[3])}
		}},
		{f5x1, &f5x1.got, 5, []any{errOdd}, func(f reflectx.Func, a []any) []any {
			return []any{f.(reflectx.Func5x1).Call5x1(a[0], a[1], a[2], a[3], a[4])}
		}},
		{f6x1, &f6x1.got, 6, []any{errOdd}, func(f reflectx.Func, a []any) []any {
			return []any{f.(reflectx.Func6x1).Call6x1(a[0], a[1], a[2], a[3], a[4], a[5])}
		}},
		{f5x2, &f5x2.got, 5, []any{7, errOdd}, func(f reflectx.Func, a []any) []any {
			r, s := f.(reflectx.Func5x2).Call5x2(a[0], a[1], a[2], a[3], a[4])
			return []any{r, s}
		}},
		{f6x2, &f6x2.got, 6, []any{7, nil}, func(f reflectx.Func, a []any) []any {
			r, s := f.(reflectx.Func6x2).Call6x2(a[0], a[1], a[2], a[3], a[4], a[5])
			return []any{r, s}
		}},
	} {
		name := reflect.TypeOf(test.fn).Elem().Name()
		t.Run(name, func(t *testing.T) {
			made, err := graph.NewFn(test.fn)
			if err != nil {
				t.Fatal(err)
			}
			wrapped, ok := reflectx.WrapMethods(test.fn)
			if !ok || len(wrapped) != 1 {
				t.Fatalf("%d methods are called without reflection, not ProcessElement alone", len(wrapped))
			}
			f := wrapped["ProcessElement"]
			if want := reflect.ValueOf(test.fn).MethodByName("ProcessElement").Type(); f.Type() != want {
				t.Errorf("its type is %v, not %v", f.Type(), want)
			}
			if !strings.HasSuffix(made.Name(), "."+name) {
				t.Errorf("%s is named %s", name, made.Name())
			}
			in := args(test.in)
			for how, call := range map[string]func() []any{
				"by place": func() []any { return test.call(f, in) },
				"by slice": func() []any { return f.Call(in) },
			} {
				*test.got = nil
				if out := call(); !reflect.DeepEqual(out, test.want) {
					t.Errorf("called %s it returned %v, not %v", how, out, test.want)
				}
				if !reflect.DeepEqual(*test.got, in) {
					t.Errorf("called %s it heard %v, not %v", how, *test.got, in)
				}
			}
		})
	}
}
