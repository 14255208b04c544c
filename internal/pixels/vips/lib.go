package vips

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
)

// The fundamental types of GObject, whose numbers are part of its ABI.
const (
	typeBool   uintptr = 5 << 2
	typeInt    uintptr = 6 << 2
	typeDouble uintptr = 15 << 2
	typeString uintptr = 16 << 2
)

// The version of libvips that this package needs: 8.13 brought the blocking of operations.
const minMajor, minMinor = 8, 13

// library holds the functions of a loaded libvips and of the GLib that it brings. None of them takes variable
// arguments: those are passed differently on each platform, and purego does not know how.
type library struct {
	path         string
	major, minor int32
	micro        int32

	init           func(program string) int32
	version        func(part int32) int32
	concurrencySet func(n int32)
	cacheSetMax    func(n int32)
	blockUntrusted func(on int32)
	blockSet       func(class string, on int32)
	typeFind       func(base, nickname string) uintptr
	errorBuffer    func() string
	errorClear     func()
	setenv         func(name, value string, overwrite int32) int32

	operationNew  func(name string) uintptr
	build         func(op uintptr) uintptr
	unrefOutputs  func(op uintptr)
	getArgument   func(object uintptr, name string, spec, class, instance *uintptr) int32
	setProperty   func(object uintptr, name string, v *gvalue)
	getProperty   func(object uintptr, name string, v *gvalue)
	objectRef     func(object uintptr) uintptr
	objectUnref   func(object uintptr)
	valueInit     func(v *gvalue, typ uintptr) *gvalue
	valueUnset    func(v *gvalue)
	valueBool     func(v *gvalue, b int32)
	valueInt      func(v *gvalue, n int32)
	valueDouble   func(v *gvalue, f float64)
	valueString   func(v *gvalue, s string)
	valueObject   func(v *gvalue, object uintptr)
	valueBoxed    func(v *gvalue, boxed uintptr)
	valueToObject func(v *gvalue) uintptr
	valueToBoxed  func(v *gvalue) uintptr

	areaUnref      func(area uintptr)
	blobNew        func(free uintptr, data unsafe.Pointer, n uintptr) uintptr
	blobGet        func(blob uintptr, n *uintptr) unsafe.Pointer
	arrayDoubleNew func(values unsafe.Pointer, n int32) uintptr
	arrayImageNew  func(images unsafe.Pointer, n int32) uintptr

	imageType       func() uintptr
	blobType        func() uintptr
	arrayDoubleType func() uintptr
	arrayImageType  func() uintptr

	imageWidth          func(im uintptr) int32
	imageHeight         func(im uintptr) int32
	imageBands          func(im uintptr) int32
	imageFormat         func(im uintptr) int32
	imageInterpretation func(im uintptr) int32
	imagePageHeight     func(im uintptr) int32
	imageHas            func(im uintptr, name string) uintptr
	imageBlob           func(im uintptr, name string, data *unsafe.Pointer, n *uintptr) int32
	imageGetInt         func(im uintptr, name string, out *int32) int32
	imageGetInts        func(im uintptr, name string, out **int32, n *int32) int32
	imageSetInt         func(im uintptr, name string, v int32)
	imageSetInts        func(im uintptr, name string, v unsafe.Pointer, n int32)
	imageFields         func(im uintptr) *unsafe.Pointer // C strings, the last nil
	imageRemove         func(im uintptr, name unsafe.Pointer) int32
	freeStrings         func(strings unsafe.Pointer)
	imageCopyMemory     func(im uintptr) uintptr
	imageData           func(im uintptr) unsafe.Pointer
	imageFromMemory     func(data unsafe.Pointer, n uintptr, width, height, bands, format int32) uintptr
	matrixFromArray     func(width, height int32, values unsafe.Pointer, n int32) uintptr

	// libvips collects the messages of all threads in one buffer, see run.
	alone   sync.RWMutex
	started atomic.Int64
	running atomic.Int64
}

// gvalue is GLib's GValue: a type and two words of content.
type gvalue [3]uintptr

func (l *library) symbols() map[string]any {
	return map[string]any{
		"vips_init": &l.init, "vips_version": &l.version, "vips_concurrency_set": &l.concurrencySet,
		"vips_cache_set_max": &l.cacheSetMax, "vips_block_untrusted_set": &l.blockUntrusted,
		"vips_operation_block_set": &l.blockSet, "vips_type_find": &l.typeFind,
		"vips_error_buffer": &l.errorBuffer, "vips_error_clear": &l.errorClear, "g_setenv": &l.setenv,

		"vips_operation_new": &l.operationNew, "vips_cache_operation_build": &l.build,
		"vips_object_unref_outputs": &l.unrefOutputs, "vips_object_get_argument": &l.getArgument,
		"g_object_set_property": &l.setProperty, "g_object_get_property": &l.getProperty,
		"g_object_ref": &l.objectRef, "g_object_unref": &l.objectUnref,
		"g_value_init": &l.valueInit, "g_value_unset": &l.valueUnset, "g_value_set_boolean": &l.valueBool,
		"g_value_set_int": &l.valueInt, "g_value_set_double": &l.valueDouble, "g_value_set_string": &l.valueString,
		"g_value_set_object": &l.valueObject, "g_value_set_boxed": &l.valueBoxed,
		"g_value_get_object": &l.valueToObject, "g_value_get_boxed": &l.valueToBoxed,

		"vips_area_unref": &l.areaUnref, "vips_blob_new": &l.blobNew, "vips_blob_get": &l.blobGet,
		"vips_array_double_new": &l.arrayDoubleNew, "vips_array_image_new": &l.arrayImageNew,

		"vips_image_get_type": &l.imageType, "vips_blob_get_type": &l.blobType,
		"vips_array_double_get_type": &l.arrayDoubleType, "vips_array_image_get_type": &l.arrayImageType,

		"vips_image_get_width": &l.imageWidth, "vips_image_get_height": &l.imageHeight,
		"vips_image_get_bands": &l.imageBands, "vips_image_get_format": &l.imageFormat,
		"vips_image_get_interpretation": &l.imageInterpretation,
		"vips_image_get_page_height":    &l.imagePageHeight,
		"vips_image_get_typeof":         &l.imageHas, "vips_image_get_blob": &l.imageBlob,
		"vips_image_get_int": &l.imageGetInt, "vips_image_get_array_int": &l.imageGetInts,
		"vips_image_set_int": &l.imageSetInt, "vips_image_set_array_int": &l.imageSetInts,
		"vips_image_get_fields": &l.imageFields, "vips_image_remove": &l.imageRemove, "g_strfreev": &l.freeStrings,
		"vips_image_copy_memory": &l.imageCopyMemory, "vips_image_get_data": &l.imageData,
		"vips_image_new_from_memory_copy": &l.imageFromMemory, "vips_image_new_matrix_from_array": &l.matrixFromArray,
	}
}

var loaded struct {
	sync.Mutex
	lib *library
}

// load opens the library at path and starts it. A process has one libvips: a second path is an error.
func load(path string) (*library, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.lib != nil {
		if loaded.lib.path != path {
			return nil, fmt.Errorf("this process already uses %s", loaded.lib.path)
		}
		return loaded.lib, nil
	}
	if err := whole(path); err != nil {
		return nil, err
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	l := &library{path: path}
	for name, function := range l.symbols() {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("%s is no libvips %d.%d or newer: it lacks %s", path, minMajor, minMinor, name)
		}
		purego.RegisterFunc(function, symbol)
	}
	l.major, l.minor, l.micro = l.version(0), l.version(1), l.version(2)
	if l.major < minMajor || l.major == minMajor && l.minor < minMinor {
		return nil, fmt.Errorf("%s is libvips %s, older than %d.%d", path, l.release(), minMajor, minMinor)
	}
	// Warnings of codecs about hostile files do not belong on standard error. libvips asks the environment of C, which
	// os.Setenv does not reach.
	l.setenv("VIPS_WARNING", "1", 1)
	keepMemory(handle)
	if l.init("darkroom") != 0 {
		return nil, fmt.Errorf("start %s: %s", path, strings.TrimSpace(l.errorBuffer()))
	}
	l.concurrencySet(1) // images are the unit of parallelism, not parts of one
	l.cacheSetMax(0)
	l.blockUntrusted(1)
	// Only the loaders that decode calls may run: never one that hands the bytes to ImageMagick and its like.
	l.blockSet("VipsForeignLoad", 1)
	for _, loader := range loaders {
		l.blockSet(loader.class, 0)
	}
	loaded.lib = l
	return l, nil
}

// keepMemory has glibc's allocator keep as much of what is freed as the next photograph needs, which the kernel would
// have to find and clear anew, a tenth of the CPU time, but no more: by itself it raises these bounds. Where there is more
// than one arena (MALLOC_ARENA_MAX in the environment: too late to set here), each keeps so much. Other C libraries have
// nothing to set.
func keepMemory(handle uintptr) {
	const trimThreshold, mmapThreshold = -1, -3 // M_TRIM_THRESHOLD, M_MMAP_THRESHOLD; to set one stops the rise of both
	symbol, err := purego.Dlsym(handle, "mallopt")
	if err != nil || runtime.GOOS != "linux" {
		return
	}
	var mallopt func(param, value int32) int32
	purego.RegisterFunc(&mallopt, symbol)
	mallopt(trimThreshold, 32<<20)
	mallopt(mmapThreshold, 16<<20)
}

func (l *library) release() string { return fmt.Sprintf("%d.%d.%d", l.major, l.minor, l.micro) }

// atLeast tells whether the library has a version of 8.minor or newer.
func (l *library) atLeast(minor int32) bool { return l.major > 8 || l.minor >= minor }

// errVips stands for what is in libvips's buffer of messages.
var errVips = errors.New("libvips failed")

// failure is an error of libvips, with its messages.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

// run calls work, which must free what it made when it fails and be repeatable. If work returns errVips, run returns a
// *failure with the messages of libvips. The buffer of these belongs to all threads: where other work ran beside, its
// messages may be mixed in, so the work that failed is done again, alone.
func (l *library) run(work func(*scope) error) error {
	text, clean, err := l.shared(work)
	if !errors.Is(err, errVips) {
		return err
	}
	if clean {
		return &failure{text}
	}
	l.alone.Lock()
	defer l.alone.Unlock()
	l.errorClear()
	if err = l.scoped(work); errors.Is(err, errVips) {
		return l.takeFailure()
	}
	return err
}

// shared runs work beside other work. The text is clean if no other work ran meanwhile.
func (l *library) shared(work func(*scope) error) (text string, clean bool, err error) {
	l.alone.RLock()
	defer l.alone.RUnlock()
	defer l.running.Add(-1)
	first := l.running.Add(1) == 1
	ticket := l.started.Add(1)
	if first {
		l.errorClear()
	}
	if err = l.scoped(work); errors.Is(err, errVips) && first && l.started.Load() == ticket {
		return l.takeFailure().text, true, err
	}
	return "", false, err
}

func (l *library) scoped(work func(*scope) error) error {
	s := &scope{library: l}
	defer s.close()
	return work(s)
}

func (l *library) takeFailure() *failure {
	text := strings.Join(strings.FieldsFunc(l.errorBuffer(), func(r rune) bool { return r == '\n' }), "; ")
	l.errorClear()
	return &failure{text}
}
