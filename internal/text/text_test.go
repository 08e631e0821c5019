package text_test

import (
	"strings"
	"testing"

	"github.com/rescind/rescind/internal/text"
)

func TestClip(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		"12345678":                "12345678",
		"123456789":               "12345678…",
		"1234567é":                "1234567…", // it does not fit as a whole
		"a\xffb":                  "a\uFFFDb",
		strings.Repeat("\xff", 9): "\uFFFD",
		"123456\u20ac":            "123456…",
	} {
		if got := text.Clip(s, 8); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}
