package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const javaVersion = "17"

// installedJava is where distributions put it.
var installedJava = "/usr/lib/jvm/*" + javaVersion + "*/bin/java"

// findJava returns a Java of the one version that all parts run on: what JAVA_HOME or PATH names, or where
// distributions put it.
func findJava(ctx context.Context) (string, error) {
	var candidates []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, "bin", "java"))
	}
	if path, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, path)
	}
	installed, _ := filepath.Glob(installedJava) // the pattern is well-formed
	var found []string
	for _, java := range append(candidates, installed...) {
		version, err := versionOf(ctx, java)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			continue
		}
		if version == javaVersion || strings.HasPrefix(version, javaVersion+".") {
			return java, nil
		}
		found = append(found, fmt.Sprintf("%s is %s", java, version))
	}
	seen := ""
	if len(found) > 0 {
		seen = " (" + strings.Join(found, ", ") + ")"
	}
	return "", fmt.Errorf("Java %s is missing%s: apt-get install openjdk-17-jdk-headless, or name its folder in JAVA_HOME", //nolint:staticcheck // a name
		javaVersion, seen)
}

// versionOf reads the version in quotes of java -version, such as 17.0.15.
func versionOf(ctx context.Context, java string) (string, error) {
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	if err != nil {
		return "", err
	}
	_, rest, _ := bytes.Cut(out, []byte(`version "`))
	version, _, found := bytes.Cut(rest, []byte(`"`))
	if !found {
		return "", errors.New("it names no version")
	}
	return string(version), nil
}

func findMaven() (string, error) {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("Maven is missing, which fetches the jars: apt-get install maven") //nolint:staticcheck // a name
	}
	return mvn, nil
}
