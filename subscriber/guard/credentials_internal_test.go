package guard

import (
	"context"
	"errors"
	"regexp"
	"testing"
)

var wellFormed = regexp.MustCompile(`^(?i:bearer|dpop) [A-Za-z0-9._~+/-]+=*$`)

func FuzzCredentialsAreReadInOneWayOnly(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer ", "Bearer a.b.c", "bearer a==", "DPoP a=b", "Bearer a,Bearer b",
		"Bearer  a", " Bearer a", "Bearer =", "Basic YTpi", "Bearer a\n", "Bearer é"} {
		f.Add(s)
	}
	errRead := errors.New("not read")
	f.Fuzz(func(t *testing.T, header string) {
		read := ""
		g := &Guard{options: options{read: func(_ context.Context, raw string) (*Admitted, error) {
			read = raw
			return nil, errRead
		}}}
		_, err := g.Admit(t.Context(), []string{header})
		if ok := errors.Is(err, errRead); ok != wellFormed.MatchString(header) {
			t.Fatalf("%q: %v", header, err)
		}
		if errors.Is(err, errRead) && header[len(header)-len(read)-1:] != " "+read {
			t.Fatalf("%q: token is %q", header, read)
		}
	})
}
