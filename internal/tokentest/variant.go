package tokentest

import (
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
)

// Algorithms are those of the development realms.
var Algorithms = []string{"EdDSA", "ES256", "RS256"}

// Variants rewrites the signature part of a token in every way that leaves it
// verifiable to some reader, or looks as if: spare bits of the last character,
// padding, another alphabet, line breaks and, for ES256, n-s. The token itself
// is not among them.
func Variants(t testing.TB, alg, raw string) map[string]string {
	t.Helper()
	dot := strings.LastIndexByte(raw, '.') + 1
	signed, signature := raw[:dot], raw[dot:]
	out := map[string]string{
		"padding":    raw + "==",
		"line break": raw[:dot+4] + "\n" + raw[dot+4:],
		"blank":      raw + " ",
		"fourth":     raw + ".",
		"unsigned":   signed,
		"other alphabet": signed + strings.NewReplacer("-", "+", "_", "/").Replace(signature) +
			strings.Repeat("=", (4-len(signature)%4)%4),
		"spare bits": signed + signature[:len(signature)-1] + string(nextInAlphabet(signature[len(signature)-1])),
	}
	if alg == "ES256" {
		out["n-s"] = signed + complement(t, signature)
	}
	return out
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// nextInAlphabet differs in the lowest bit, which is spare in every signature of
// Algorithms.
func nextInAlphabet(c byte) byte { return alphabet[strings.IndexByte(alphabet, c)^1] }

func complement(t testing.TB, signature string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || len(b) != 64 {
		t.Fatalf("not an ES256 signature: %v", err)
	}
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(b[32:]))
	s.FillBytes(b[32:])
	return base64.RawURLEncoding.EncodeToString(b)
}
