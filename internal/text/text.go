// Package text shortens what others wrote, for records that people read.
package text

import (
	"strings"
	"unicode/utf8"
)

// Clip cuts s at max bytes, between characters, and marks the cut by an ellipsis. It is
// valid UTF-8, whatever s is.
func Clip(s string, max int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= max {
		return s
	}
	n := max
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
