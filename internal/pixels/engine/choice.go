package engine

// Choice names the engine that is wanted. Its tags are those of the command line
// (github.com/alecthomas/kong), so that each command that needs pixels chooses alike.
type Choice struct {
	Engine  string `help:"What decodes and encodes images: auto (libvips if it is there, else go), go or libvips." env:"DARKROOM_PIXELS,DARKROOM_ENGINE" enum:"auto,go,libvips" default:"auto"`
	Libvips string `help:"The libvips to use: its file, or a folder with it, such as a node_modules; the usual places if empty." placeholder:"PATH"`
}
