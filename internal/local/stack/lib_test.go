package stack_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"darkroom/internal/local/stack"
)

// maven puts a mvn in PATH that makes two jars, and counts its calls.
func maven(t *testing.T, script string) (calls func() int) {
	t.Helper()
	bin := t.TempDir()
	write(t, filepath.Join(bin, "java"), "#!/bin/sh\necho 'openjdk version \"17.0.1\" 2021-10-19' >&2\n")
	write(t, filepath.Join(bin, "mvn"), `#!/bin/sh
echo call >> `+bin+`/calls
for a; do case $a in -DoutputDirectory=*) out=${a#*=};; esac; done
echo "[INFO] Downloaded from central: https://example.org/one.jar (1.5 kB at 2 kB/s)"
echo one > $out/one.jar
`+script)
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Setenv("JAVA_HOME", "")
	return func() int {
		b, _ := os.ReadFile(filepath.Join(bin, "calls"))
		return strings.Count(string(b), "call")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// javaPart is a fake part that wants jars.
func javaPart() stack.Part {
	p := part("a", "")
	p.Lib = "kafka"
	return p
}

func openLib(t *testing.T, lib string) (*stack.Stack, *events) {
	t.Helper()
	s, err := stack.Open(stack.Options{
		Dir: t.TempDir(), Lib: lib, Parts: []stack.Part{javaPart()}, Ports: map[string]int{"a": freePort(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Down(context.Background(), nil) })
	return s, &events{}
}

func TestJarsAreFetchedOnceAndChecked(t *testing.T) {
	calls, lib := maven(t, "echo second > $out/two.jar\n"), t.TempDir()
	s, e := openLib(t, lib)
	before(t, up(t, s, e), "a starting", "a ready")
	if err := s.Down(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	another, e := openLib(t, lib)
	if got := up(t, another, e); calls() != 1 || slices.Contains(got, "kafka fetching") {
		t.Errorf("%d fetches, %q", calls(), got)
	}
	jars, _ := filepath.Glob(filepath.Join(lib, "kafka-*", "*.jar"))
	if len(jars) != 2 {
		t.Fatalf("jars: %v", jars)
	}
	for n, spoil := range []func() error{
		func() error { return os.Truncate(jars[0], 1) },
		func() error { return os.Remove(jars[1]) },
		func() error { return os.WriteFile(filepath.Join(filepath.Dir(jars[0]), "more.jar"), nil, 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		s, e := openLib(t, lib)
		if got := up(t, s, e); calls() != n+2 || !slices.Contains(got, "kafka fetched") {
			t.Errorf("%d fetches, %q", calls(), got)
		}
	}
}

func TestAFetchCutShortIsNotUsed(t *testing.T) {
	maven(t, "echo '[ERROR] Could not find two.jar'\nexit 1\n")
	lib := t.TempDir()
	s, _ := openLib(t, lib)
	err := s.Up(t.Context(), nil)
	if err == nil || err.Error() != "fetch kafka: mvn: exit status 1: Could not find two.jar" {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(lib, "kafka*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	// What a killed fetch leaves has another name, and no manifest.
	if err := os.MkdirAll(filepath.Join(lib, "kafka.part-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	calls := maven(t, "")
	up(t, s, &events{})
	if calls() != 1 {
		t.Errorf("%d fetches", calls())
	}
}

func TestMissingJavaOrMavenIsSaidInOneLine(t *testing.T) {
	maven(t, "")
	bin := strings.Split(os.Getenv("PATH"), ":")[0]
	if err := os.Remove(filepath.Join(bin, "mvn")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	s, _ := openLib(t, t.TempDir())
	err := s.Up(t.Context(), nil)
	if err == nil || err.Error() != "fetch kafka: Maven is missing, which fetches the jars: apt-get install maven" {
		t.Error(err)
	}
	stack.NoInstalledJava(t)
	for text, seen := range map[string]string{
		"#!/bin/sh\necho 'openjdk version \"21.0.2\" 2024' >&2\n": " (" + bin + "/java is 21.0.2)",
		"#!/bin/sh\nexit 1\n": "",
	} {
		write(t, filepath.Join(bin, "java"), text)
		want := "Java 17 is missing" + seen + ": apt-get install openjdk-17-jdk-headless, or name its folder in JAVA_HOME"
		if err := s.Up(t.Context(), nil); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
