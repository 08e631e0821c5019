package guard

import (
	"regexp"
	"testing"
)

var wellFormed = regexp.MustCompile(`^(?i:bearer|dpop) [A-Za-z0-9._~+/-]+=*$`)

func FuzzCredentialsAreReadInOneWayOnly(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer ", "Bearer a.b.c", "bearer a==", "DPoP a=b", "Bearer a,Bearer b",
		"Bearer  a", " Bearer a", "Bearer =", "Basic YTpi", "Bearer a\n", "Bearer é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		raw, err := credentials([]string{header})
		if ok := err == nil; ok != wellFormed.MatchString(header) {
			t.Fatalf("%q: read %v", header, ok)
		}
		if err == nil && header[len(header)-len(raw)-1:] != " "+raw {
			t.Fatalf("%q: token is %q", header, raw)
		}
	})
}
