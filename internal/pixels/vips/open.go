package vips

import (
	"debug/elf"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"darkroom/internal/pixels"
)

// Names of the library, for the loader of the system, which knows its own folders.
var names = map[string][]string{
	"linux": {"libvips.so.42", "libvips.so"},
	"darwin": {
		"libvips.42.dylib", "/opt/homebrew/lib/libvips.42.dylib", "/usr/local/lib/libvips.42.dylib", "libvips.dylib",
	},
}

// Files of the library in a folder. npm's package has one file with the C++ binding, libvips and all that it needs.
var files = []string{"libvips.so.42", "libvips.42.dylib", "libvips-cpp.so.*", "libvips-cpp.*.dylib", "libvips.so", "libvips.dylib"}

// The folders that `make libvips` fills: root's, which must be where processes without root's rights can read it, and
// that of a user, below the cache folder.
const (
	sharedDir = "/usr/local/lib/darkroom/libvips"
	cacheDir  = "darkroom/libvips"
)

// Locate returns what a process without the user's environment and working folder must be given as path to open the same
// libvips: a list, like that of $PATH, of what may be it. It opens nothing.
func Locate(path string) string {
	found := candidates(path)
	for i, c := range found {
		if _, err := os.Stat(c); err != nil || !strings.ContainsRune(c, filepath.Separator) {
			continue // a name that the system's loader knows, whatever is called so in the working folder
		}
		if abs, err := filepath.Abs(c); err == nil {
			found[i] = abs
		}
	}
	if len(found) == 0 {
		return path
	}
	return strings.Join(found, string(filepath.ListSeparator))
}

// candidates lists what may be libvips: path, which may be such a list, or what is in the folder path, or what is in the
// usual places: first what was fetched for Darkroom, which is newer and faster than most systems' own. The working folder
// is not among them, since whoever can write there could have Darkroom run their code.
func candidates(path string) []string {
	if path == "" {
		usual := inFolder(sharedDir)
		if cache, err := os.UserCacheDir(); err == nil {
			usual = append(usual, inFolder(filepath.Join(cache, cacheDir))...)
		}
		return append(usual, names[runtime.GOOS]...)
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return inFolder(path)
	}
	return filepath.SplitList(path)
}

// whole sees to it that a file of ELF has all that it says it has: the loader maps what is not there, and dies of it.
func whole(path string) error {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "linux" {
		return nil // a name, which the loader knows, or another format
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is no library, or not all of one: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Off+p.Filesz > uint64(info.Size()) {
			return fmt.Errorf("%s is cut short: it has %d bytes of %d or more", path, info.Size(), p.Off+p.Filesz)
		}
	}
	return nil
}

// inFolder lists the libraries in a folder, or in the packages of npm that are installed in it.
func inFolder(dir string) (found []string) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	npm := filepath.Join("@img", "sharp-libvips-"+platform(), "lib")
	for _, sub := range []string{"", "lib", npm, filepath.Join("node_modules", npm)} {
		for _, name := range files {
			matches, _ := filepath.Glob(filepath.Join(dir, sub, name)) // the pattern is a good one
			found = append(found, matches...)
		}
	}
	return found
}

// platform is what npm calls this one.
func platform() string {
	arch := map[string]string{"amd64": "x64", "386": "ia32"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return runtime.GOOS + "-" + arch
}

// ErrAbsent is returned where there is no libvips; any other error of Open is about one that is there.
var ErrAbsent = errors.New("open libvips: it is not on this machine (`make libvips` fetches it; on Debian: apt-get install libvips42)")

// notFound tells that no candidate could be opened, and why. Of the usual places those do not count that have none.
func notFound(path string, errs []error) error {
	if path == "" || len(filepath.SplitList(path)) > 1 {
		errs = slices.DeleteFunc(errs, func(err error) bool {
			return errors.Is(err, fs.ErrNotExist) || strings.Contains(strings.ToLower(err.Error()), "no such file")
		})
		if len(errs) == 0 {
			return ErrAbsent
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("open libvips: there is none in the folder %s", path)
	}
	return fmt.Errorf("open libvips: %w", errors.Join(errs...))
}

// survey finds out what the library can do. Whether a codec is behind libheif shows when it is used only.
func (l *library) survey() info {
	i := info{Name: "libvips", Version: l.release() + "-" + revision, Libraries: l.codecs()}
	sample, err := l.sample()
	avif := err == nil
	if l.reads(pixels.AVIF, sample) {
		i.Decodes = append(i.Decodes, pixels.AVIF)
	}
	if l.reads(pixels.HEIC, heicSample) {
		i.Decodes = append(i.Decodes, pixels.HEIC)
	}
	for _, f := range []pixels.Format{pixels.JPEG, pixels.PNG, pixels.GIF, pixels.WebP, pixels.TIFF, pixels.JXL} {
		if l.typeFind("VipsOperation", loaders[f].operation) != 0 {
			i.Decodes = append(i.Decodes, f)
		}
	}
	for _, f := range pixels.EncodedFormats {
		if l.typeFind("VipsOperation", savers[f]) != 0 && (f != pixels.AVIF || avif) {
			i.Encodes = append(i.Encodes, f)
		}
	}
	return i
}

// A picture of 16×16 pixels, made by libheif with x265.
//
//go:embed sample.heic
var heicSample []byte

// sample makes a small AVIF.
func (l *library) sample() ([]byte, error) {
	p, err := l.load(image.NewNRGBA(image.Rect(0, 0, 16, 16)))
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Encode(pixels.EncodeOptions{Format: pixels.AVIF, Quality: 50})
}

// reads tells whether a sample of the format is decoded.
func (l *library) reads(f pixels.Format, sample []byte) bool {
	e := &Engine{library: l, own: []pixels.Format{f}}
	p, err := e.Decode(sample, pixels.Facts{Format: f}, pixels.DecodeOptions{})
	if err != nil {
		return false
	}
	defer p.Close()
	_, err = p.NRGBA()
	return err == nil
}

// Libraries of codecs, by the names of their files and in npm's list of versions.
var (
	codecFile  = regexp.MustCompile(`/lib(jpeg|spng|png16|webp|heif|aom|dav1d|de265|x265|tiff|cgif|jxl|lcms2|imagequant)\.(?:so\.)?([0-9][0-9.]*[0-9])(?:\.dylib)?$`)
	codecNames = []string{"mozjpeg", "png", "webp", "heif", "aom", "tiff", "cgif", "imagequant", "lcms"}
)

// codecs lists the codec libraries where their versions can be told: npm's package has a list; on Linux, else, the
// names of the files that are loaded have them.
func (l *library) codecs() (found []string) {
	var versions map[string]string
	list, err := os.ReadFile(filepath.Join(filepath.Dir(l.path), "..", "versions.json"))
	if err == nil && json.Unmarshal(list, &versions) == nil {
		for _, name := range codecNames {
			if v := versions[name]; v != "" {
				found = append(found, name+" "+v)
			}
		}
		return found
	}
	for _, path := range loadedFiles() {
		if m := codecFile.FindStringSubmatch(path); m != nil {
			found = append(found, "lib"+m[1]+" "+m[2])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// loadedFiles asks the loader for the libraries of this process, since one that is confined cannot read /proc.
func loadedFiles() (paths []string) {
	symbol, err := purego.Dlsym(purego.RTLD_DEFAULT, "dl_iterate_phdr")
	if err != nil {
		return nil
	}
	var iterate func(each, data uintptr) int32
	purego.RegisterFunc(&iterate, symbol)
	type info struct { // the beginning of dl_phdr_info
		_    uintptr
		name *byte
	}
	iterate(purego.NewCallback(func(i *info, _, _ uintptr) uintptr {
		n := 0
		for *(*byte)(unsafe.Add(unsafe.Pointer(i.name), n)) != 0 {
			n++
		}
		if path, err := filepath.EvalSymlinks(string(unsafe.Slice(i.name, n))); err == nil { // which has the version
			paths = append(paths, path)
		}
		return 0
	}), 0)
	return paths
}
