package vips

import (
	"fmt"
	"image"
	"runtime"
	"unsafe"
)

// ref is a reference to a VipsImage.
type ref uintptr

// args are the inputs of an operation by name: bool, int, float64, string, []float64, []byte, ref and []ref. An enum is
// its number.
type args map[string]any

// scope owns the references that a piece of work makes, and releases them at its end. Bytes given to an operation are
// pinned until then, since images are computed when they are asked for.
type scope struct {
	*library
	refs []ref
	pins runtime.Pinner
}

func (s *scope) close() {
	for i := len(s.refs) - 1; i >= 0; i-- {
		s.objectUnref(uintptr(s.refs[i]))
	}
	s.pins.Unpin()
}

func (s *scope) own(im ref) ref {
	s.refs = append(s.refs, im)
	return im
}

// keep returns a reference that outlives the scope.
func (s *scope) keep(im ref) ref { return ref(s.objectRef(uintptr(im))) }

// image calls an operation that makes an image.
func (s *scope) image(name string, in args) (out ref, err error) {
	err = s.call(name, in, func(op uintptr) error {
		var v gvalue
		s.valueInit(&v, s.imageType())
		defer s.valueUnset(&v)
		s.getProperty(op, "out", &v)
		object := s.valueToObject(&v)
		if object == 0 {
			return errVips
		}
		out = s.own(ref(s.objectRef(object)))
		return nil
	})
	return out, err
}

// bytes calls an operation that makes a buffer, and copies it.
func (s *scope) bytes(name string, in args) (out []byte, err error) {
	err = s.call(name, in, func(op uintptr) error {
		var v gvalue
		s.valueInit(&v, s.blobType())
		defer s.valueUnset(&v)
		s.getProperty(op, "buffer", &v)
		blob := s.valueToBoxed(&v)
		if blob == 0 {
			return errVips
		}
		var n uintptr
		data := s.blobGet(blob, &n)
		out = append(make([]byte, 0, n), unsafe.Slice((*byte)(data), n)...)
		return nil
	})
	return out, err
}

// call makes an operation, sets its inputs, runs it and has result read its outputs.
func (s *scope) call(name string, in args, result func(op uintptr) error) error {
	op := s.operationNew(name)
	if op == 0 {
		return errVips
	}
	defer s.objectUnref(op)
	for key, value := range in {
		if err := s.set(op, name, key, value); err != nil {
			return err
		}
	}
	built := s.build(op) // with a reference of its own
	if built == 0 {
		s.unrefOutputs(op)
		return errVips
	}
	defer s.objectUnref(built)
	defer s.unrefOutputs(built)
	return result(built)
}

// set sets one input. GLib converts a number to the property's own type, such as an enum.
func (s *scope) set(op uintptr, name, key string, value any) error {
	var spec, class, instance uintptr
	if s.getArgument(op, key, &spec, &class, &instance) != 0 {
		return errVips
	}
	var v gvalue
	defer func() { s.valueUnset(&v) }()
	boxed := func(typ, area uintptr) {
		s.valueInit(&v, typ)
		s.valueBoxed(&v, area)
		s.areaUnref(area) // the value has its own reference
	}
	switch x := value.(type) {
	case bool:
		s.valueInit(&v, typeBool)
		n := int32(0)
		if x {
			n = 1
		}
		s.valueBool(&v, n)
	case int:
		s.valueInit(&v, typeInt)
		s.valueInt(&v, int32(x))
	case float64:
		s.valueInit(&v, typeDouble)
		s.valueDouble(&v, x)
	case string:
		s.valueInit(&v, typeString)
		s.valueString(&v, x)
	case ref:
		s.valueInit(&v, s.imageType())
		s.valueObject(&v, uintptr(x))
	case []float64:
		boxed(s.arrayDoubleType(), s.arrayDoubleNew(unsafe.Pointer(unsafe.SliceData(x)), int32(len(x))))
	case []ref:
		boxed(s.arrayImageType(), s.arrayImageNew(unsafe.Pointer(unsafe.SliceData(x)), int32(len(x))))
	case []byte:
		data := unsafe.Pointer(unsafe.SliceData(x))
		s.pins.Pin(data)
		boxed(s.blobType(), s.blobNew(0, data, uintptr(len(x))))
	default:
		panic(fmt.Sprintf("vips: %s of %s has type %T", key, name, value))
	}
	s.setProperty(op, key, &v)
	return nil
}

// memory computes the image and returns it as one that lies in memory: what is made of an image that does not is
// computed from the compressed file again each time.
func (s *scope) memory(im ref) (ref, error) {
	m := s.imageCopyMemory(uintptr(im))
	if m == 0 {
		return 0, errVips
	}
	return s.own(ref(m)), nil
}

func (l *library) size(im ref) image.Point {
	return image.Pt(int(l.imageWidth(uintptr(im))), int(l.imageHeight(uintptr(im))))
}

func (l *library) bands(im ref) int          { return int(l.imageBands(uintptr(im))) }
func (l *library) interpretation(im ref) int { return int(l.imageInterpretation(uintptr(im))) }
func (l *library) bandFormat(im ref) int     { return int(l.imageFormat(uintptr(im))) }
func (l *library) has(im ref, field string) bool {
	return l.imageHas(uintptr(im), field) != 0
}

// strip removes all metadata from an image that nothing else uses yet.
func (s *scope) strip(im ref) {
	fields := s.imageFields(uintptr(im))
	if fields == nil {
		return
	}
	defer s.freeStrings(unsafe.Pointer(fields))
	for p := fields; *p != nil; p = (*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		s.imageRemove(uintptr(im), *p)
	}
}
