package vips

import "github.com/ebitengine/purego"

// Allocated returns how many bytes libvips holds.
func Allocated(e *Engine) uintptr {
	handle, err := purego.Dlopen(e.path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		panic(err)
	}
	var held func() uintptr
	purego.RegisterLibFunc(&held, handle, "vips_tracked_get_mem")
	return held()
}
