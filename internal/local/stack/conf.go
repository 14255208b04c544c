package stack

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"text/template"
)

// confs are the configuration files, as templates over Env.
//
//go:embed conf
var confs embed.FS

// configure writes the part's configuration.
func (e Env) configure() error {
	for _, dir := range e.part.Conf {
		entries, err := confs.ReadDir("conf/" + dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			t, err := template.New(entry.Name()).ParseFS(confs, path.Join("conf", dir, entry.Name()))
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := t.Execute(&text, e); err != nil {
				return fmt.Errorf("write configuration: %w", err)
			}
			if err := os.WriteFile(filepath.Join(e.Conf(), entry.Name()), text.Bytes(), 0o644); err != nil {
				return fmt.Errorf("write configuration: %w", err)
			}
		}
	}
	return nil
}
