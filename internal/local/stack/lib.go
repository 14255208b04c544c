package stack

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"darkroom/internal/local"
)

// poms name the artifacts that each part runs from. A folder has its own class path: the parts need different versions
// of the same libraries.
//
//go:embed poms
var poms embed.FS

const (
	manifestName = "manifest"
	copyGoal     = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
	mavenHeap    = "-Xmx512m"
	lockPatience = 200 * time.Millisecond
)

// DefaultLib is the folder of the jars that all stacks of a user share.
func DefaultLib() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the jars: %w", err)
	}
	return filepath.Join(cache, "darkroom", "lib"), nil
}

// libsOf names the libraries of parts, each once.
func libsOf(parts []Part) []string {
	var libs []string
	for _, p := range parts {
		if p.Lib != "" && !slices.Contains(libs, p.Lib) {
			libs = append(libs, p.Lib)
		}
	}
	return libs
}

// libFolder is where the jars of a pom are. Another pom has another folder, so that a new version of Darkroom does not
// take away the jars that an older one's parts run from.
func libFolder(root, name string) string {
	sum := sha256.Sum256(pom(name))
	return filepath.Join(root, name+"-"+hex.EncodeToString(sum[:4]))
}

func pom(name string) []byte {
	b, err := poms.ReadFile("poms/" + name + "/pom.xml")
	if err != nil {
		panic(err) // it is part of the program
	}
	return b
}

// fetch makes sure that the jars of a library are there, whole.
func (s *Stack) fetch(ctx context.Context, name string, progress Progress) error {
	folder := libFolder(s.o.Lib, name)
	if verify(folder) == nil {
		return nil
	}
	lock, err := lockLib(ctx, s.o.Lib)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	defer func() { _ = lock.Close() }()
	if verify(folder) == nil { // another stack has fetched them meanwhile
		return nil
	}
	if err := fetchLib(ctx, name, folder, progress); err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	return nil
}

// lockLib takes the library for one fetch at a time: Maven's own repository is not made for two.
func lockLib(ctx context.Context, root string) (io.Closer, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	for {
		lock, err := local.Lock(root)
		if err == nil {
			return lock, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(lockPatience):
		}
	}
}

// fetchLib fetches into a folder of its own, which gets its name when it is whole.
func fetchLib(ctx context.Context, name, folder string, progress Progress) (err error) {
	mvn, err := findMaven()
	if err != nil {
		return err
	}
	begin := time.Now()
	made, err := os.MkdirTemp(filepath.Dir(folder), name+".part-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(made)) }()
	if err := os.Chmod(made, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(made, "pom.xml"), pom(name), 0o644); err != nil {
		return err
	}
	if err := runMaven(ctx, mvn, name, made, progress); err != nil {
		return err
	}
	files, size, err := writeManifest(made)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.Rename(made, folder); err != nil {
		return err
	}
	progress(Event{Part: name, State: Fetched, Files: files, Bytes: size, Took: time.Since(begin)})
	return nil
}

// downloaded is what Maven says of a file that it has fetched.
var downloaded = regexp.MustCompile(`^\[INFO\] Downloaded from \S+ \S+\.jar \(([0-9.]+) ([kMG]?B)`)

func runMaven(ctx context.Context, mvn, name, dir string, progress Progress) error {
	// A file whose checksum is wrong fails the fetch.
	cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--strict-checksums", "-f", filepath.Join(dir, "pom.xml"), copyGoal,
		"-DoutputDirectory="+dir, "-DincludeScope=runtime")
	cmd.Env = append(os.Environ(), "MAVEN_OPTS="+strings.TrimSpace(os.Getenv("MAVEN_OPTS")+" "+mavenHeap))
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	event, failure := Event{Part: name, State: Fetching}, ""
	progress(event)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if m := downloaded.FindStringSubmatch(line); m != nil {
			event.Files, event.Bytes = event.Files+1, event.Bytes+size(m[1], m[2])
			progress(event)
		}
		if text, ok := strings.CutPrefix(line, "[ERROR] "); ok && failure == "" {
			failure = text
		}
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w: %s", filepath.Base(mvn), err, failure)
	}
	return nil
}

// size is the number of bytes that Maven means by "1.2 MB".
func size(number, unit string) int64 {
	var n float64
	if _, err := fmt.Sscan(number, &n); err != nil {
		return 0
	}
	return int64(n * map[string]float64{"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit])
}

// writeManifest notes the checksum, the size and the name of each jar in a folder.
func writeManifest(dir string) (files int, bytes int64, err error) {
	jars, err := filepath.Glob(filepath.Join(dir, "*.jar"))
	if err != nil {
		return 0, 0, err
	}
	if len(jars) == 0 {
		return 0, 0, errors.New("there are no jars")
	}
	var text strings.Builder
	for _, jar := range jars {
		sum, n, err := checksum(jar)
		if err != nil {
			return 0, 0, err
		}
		fmt.Fprintf(&text, "%s %d %s\n", sum, n, filepath.Base(jar))
		bytes += n
	}
	return len(jars), bytes, os.WriteFile(filepath.Join(dir, manifestName), []byte(text.String()), 0o644)
}

func checksum(path string) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	n, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// verify checks that a folder has every jar of its manifest, each of its size, and no other. To read all of them for
// their checksums would take longer than to start what runs from them.
func verify(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	sizes := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		var sum, name string
		var n int64
		if _, err := fmt.Sscan(line, &sum, &n, &name); err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		sizes[name] = n
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".jar") {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if n, ok := sizes[path]; !ok || n != info.Size() {
			return fmt.Errorf("%s is not as it was fetched", path)
		}
		delete(sizes, path)
		return nil
	})
	if err == nil && len(sizes) > 0 {
		err = fmt.Errorf("%d jars are missing", len(sizes))
	}
	return err
}
