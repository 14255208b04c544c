package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// peerSources are the peers in Java.
//
//go:embed peers
var peerSources embed.FS

// peers are the programs that were built of them.
type peers struct{ dir string }

// buildPeers fetches what the peers need through Maven, and compiles them.
func buildPeers(ctx context.Context, dir string) (*peers, error) {
	p := &peers{filepath.Join(dir, "peers")}
	sources, err := fs.Sub(peerSources, "peers")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(p.dir, sources); err != nil {
		return nil, fmt.Errorf("write the peers' sources: %w", err)
	}
	for _, peer := range []string{"kafkastreams", "flink"} {
		folder := filepath.Join(p.dir, peer)
		for _, argv := range [][]string{
			{"mvn", "--batch-mode", "--quiet", "-f", filepath.Join(folder, "pom.xml"),
				"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies", "-DoutputDirectory=" + filepath.Join(folder, "lib")},
			{"javac", "-nowarn", "--release", "17", "-cp", filepath.Join(folder, "lib", "*"), "-d", filepath.Join(folder, "classes"),
				filepath.Join(p.dir, "shared", "Results.java"), filepath.Join(folder, "Sums.java")},
		} {
			if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build %s: %s: %w\n%s", peer, argv[0], err, out)
			}
		}
	}
	return p, nil
}

// command runs a peer with a heap of one gibibyte.
func (p *peers) command(peer string, options ...string) []string {
	folder := filepath.Join(p.dir, peer)
	argv := append([]string{
		"java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
	}, options...)
	return append(argv, "-cp", filepath.Join(folder, "classes")+":"+filepath.Join(folder, "lib", "*"), "Sums")
}
