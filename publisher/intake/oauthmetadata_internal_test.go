package intake

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWellKnownDocumentsOfIssuersWithAPath(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://rescind.example":       {"/.well-known/x"},
		"https://rescind.example/":      {"/.well-known/x"},
		"https://rescind.example/a/b/":  {"/.well-known/x", "/.well-known/x/a/b"},
		"https://rescind.example:8/sso": {"/.well-known/x", "/.well-known/x/sso"},
	} {
		if d := cmp.Diff(want, wellKnown("x", issuer)); d != "" {
			t.Errorf("%s: %s", issuer, d)
		}
	}
}
