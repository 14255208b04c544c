package stack

import "testing"

// NoInstalledJava lets a test look for Java in JAVA_HOME and PATH only.
func NoInstalledJava(t *testing.T) {
	before := installedJava
	installedJava = ""
	t.Cleanup(func() { installedJava = before })
}
