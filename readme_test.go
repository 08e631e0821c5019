// Package rescind_test keeps the README true.
package rescind_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// blocks gives the README's fenced blocks of a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	open, inside := "", false
	var block strings.Builder
	for line := range strings.Lines(string(text)) {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !inside:
			open, inside = fence, true
			block.Reset()
		case isFence:
			inside = false
			if open == language {
				out = append(out, block.String())
			}
		case inside:
			block.WriteString(line)
		}
	}
	if len(out) == 0 {
		t.Fatalf("the README has no block of %q", language)
	}
	return out
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// TestGoInTheReadmeCompiles: what the README leaves out, a service has: ctx, the
// URL, verify and a handler.
func TestGoInTheReadmeCompiles(t *testing.T) {
	for _, block := range blocks(t, "go") {
		imports, body, found := strings.Cut(block, ")\n")
		if !strings.HasPrefix(imports, "import (") {
			checkTestBody(t, block)
			continue
		}
		if !found {
			t.Fatal("the block's imports do not end")
		}
		src := "package main\n\n" + strings.Replace(imports, "import (", "import (\n\t\"context\"\n\t\"net/http\"\n\t\"github.com/golang-jwt/jwt/v5\"", 1) +
			")\n\nfunc service(ctx context.Context, url string, handler http.Handler,\n" +
			"\tverify func(context.Context, string) (jwt.MapClaims, error)) (http.Handler, error) {\n" + body +
			"return handler, err\n}\n\nfunc main() { _ = service }\n"
		path := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		command(t, "go", "build", "-o", os.DevNull, path)
	}
}

// checkTestBody compiles what stands in a service's own test: t, verify and a handler
// are there.
func checkTestBody(t *testing.T, body string) {
	t.Helper()
	src := `package service

import (
	"net/http"
	"testing"

	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/subscribertest"
)

func test(t *testing.T, verify guard.Verify, handler http.Handler) http.Handler {
` + body + `return h
}

func TestIt(t *testing.T) { _ = test }
`
	path := filepath.Join(t.TempDir(), "service_test.go")
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "go", "vet", path)
}

// TestConfigurationInTheReadmeIsAccepted: the hash of a key stands in for "…".
func TestConfigurationInTheReadmeIsAccepted(t *testing.T) {
	for _, block := range blocks(t, "yaml") {
		path := filepath.Join(t.TempDir(), "rescind.yaml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(block, "…", strings.Repeat("ab", 32))), 0o600); err != nil {
			t.Fatal(err)
		}
		command(t, "go", "run", "./cmd/rescind", "config", "check", "--config", path)
	}
}

// TestCommandsInTheReadmeExist: every rescind command that it shows has a help.
func TestCommandsInTheReadmeExist(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "rescind")
	command(t, "go", "build", "-o", binary, "./cmd/rescind")
	seen := map[string]bool{}
	for _, block := range blocks(t, "") {
		for _, m := range regexp.MustCompile(`(?m)(?:^|\$\()rescind ([a-z]+)(?: (apply|new))?`).FindAllStringSubmatch(block, -1) {
			args := strings.Fields(m[1] + " " + m[2] + " --help")
			if line := strings.Join(args, " "); !seen[line] {
				seen[line] = true
				command(t, binary, args...)
			}
		}
	}
	if len(seen) < 5 {
		t.Errorf("found %d commands in the README", len(seen))
	}
}
