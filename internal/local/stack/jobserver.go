package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
)

// runJobServer runs one of Beam's job servers: from a source file, which Java compiles as it starts, since Beam's own
// main listens on all interfaces.
func runJobServer(e Env, java func(e Env, options []string, class string, args ...string) []string, options []string,
	driver string, args ...string,
) []string {
	return java(e, options, filepath.Join(e.Conf(), "JobServer.java"), append([]string{
		driver, "--job-host=" + loopback, "--job-port=" + strconv.Itoa(e.Port("job")),
		"--artifact-port=0", "--expansion-port=0", "--artifacts-dir=" + filepath.Join(e.Data(), "artifacts"),
	}, args...)...)
}

func jobServerListens(ctx context.Context, e Env) error {
	if err := listens(ctx, e.Addr("job")); err != nil {
		return fmt.Errorf("job server: %w", err)
	}
	return nil
}
