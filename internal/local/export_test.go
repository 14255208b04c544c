package local

// WithSidecar returns the options of a gateway that keeps nothing in extended attributes.
func (o S3Options) WithSidecar() S3Options {
	o.sidecar = true
	return o
}
