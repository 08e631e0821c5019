package events

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
)

// checkBase64 holds both ways to decode against encoding/base64.
func checkBase64(t *testing.T, text string) {
	t.Helper()
	want, wantErr := decodeB64(text)
	got, err := appendDecoded([]byte("before"), text)
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, append([]byte("before"), want...)) {
		t.Fatalf("%.80q: got %q, %v, encoding/base64 %q, %v", text, got, err, want, wantErr)
	}
	for size := max(0, len(want)-4); size <= len(want)+4; size++ {
		dst := make([]byte, size)
		if ok := decodeInto(dst, []byte(text)); ok != (wantErr == nil && size == len(want)) {
			t.Fatalf("%.80q into %d bytes: got %v", text, size, ok)
		} else if ok && !bytes.Equal(dst, want) {
			t.Fatalf("%.80q: got %x, encoding/base64 %x", text, dst, want)
		}
	}
}

func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "A", "AA", "AAA", "AAAA", "AB", "_-_-", "AA==", "AA\n", "AAA\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkBase64(t, s)
		text := string(appendEncoded(nil, []byte(s)))
		if want := base64.RawURLEncoding.EncodeToString([]byte(s)); text != want {
			t.Errorf("%q: got %s, encoding/base64 %s", s, text, want)
		}
		checkBase64(t, text)
	})
}

func TestBase64IsWrittenAsTheLibraryWritesIt(t *testing.T) {
	var src []byte
	for i := range 1 << 16 {
		src = binary.BigEndian.AppendUint16(src, uint16(i*40503)) // every pair of bytes, in no order
	}
	for _, b := range [][]byte{src, src[1:], src[2:], src[:len(src)-1], src[:len(src)-2]} {
		want := "before" + base64.RawURLEncoding.EncodeToString(b)
		if got := string(appendEncoded([]byte("before"), b)); got != want {
			t.Error("a long text differs")
		}
	}
	for n := range 40 {
		want := base64.RawURLEncoding.EncodeToString(src[:n])
		if got := string(appendEncoded(nil, src[:n])); got != want {
			t.Errorf("%d bytes: got %s, want %s", n, got, want)
		}
	}
}

// TestBase64HasOneFormForEachText puts every byte in every place of texts of
// every length that matters.
func TestBase64HasOneFormForEachText(t *testing.T) {
	for length := range 12 {
		text := []byte(strings.Repeat("A", length))
		checkBase64(t, string(text))
		for at := range text {
			for c := range 256 {
				text[at] = byte(c)
				checkBase64(t, string(text))
			}
			text[at] = 'A'
		}
	}
	for _, c := range []string{"\n", "\r", "\r\n", "=", "==", " ", ".", "+", "/"} {
		for at := range 9 {
			checkBase64(t, "AAAAAAAA"[:at]+c+"AAAAAAAA"[at:])
		}
	}
}
