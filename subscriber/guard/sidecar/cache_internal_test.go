package sidecar

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
)

func kept(t *testing.T, payload string) *readToken {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	raw := b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(payload)) + ".AAAA"
	tok, err := events.ParseToken(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := &readToken{}
	r.Token = tok
	r.bytes = heapOf(raw, &r.Admitted)
	return r
}

func TestCacheCountsWhatItHolds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, bound := range []int{1, 2, 100, 1000, 5000} {
		c := newTokenCache(bound)
		keys := map[tokenKey]bool{}
		for range 3 * bound {
			k := tokenKey{byte(random.IntN(256)), byte(random.IntN(1 + bound/64))}
			keys[k] = true
			switch random.IntN(4) {
			case 0:
				if held := c.get(&k); held != nil {
					c.drop(&k, held)
				}
			case 1:
				c.drop(&k, &readToken{bytes: 1}) // another one than is kept
			default:
				c.put(&k, kept(t, `{"jti":"`+strings.Repeat("a", random.IntN(6000))+`"}`))
			}
			if tokens, bytes := c.size(); tokens > bound || bytes > bound*bytesPerToken || bytes < tokens*bytesOfToken {
				t.Fatalf("of %d: holds %d tokens in %d bytes", bound, tokens, bytes)
			}
		}
		for k := range keys {
			if held := c.get(&k); held != nil {
				c.drop(&k, held)
			}
		}
		if tokens, bytes := c.size(); tokens != 0 || bytes != 0 {
			t.Errorf("of %d: holds %d tokens in %d bytes once all are dropped", bound, tokens, bytes)
		}
	}
}

func TestCacheDropsOnlyWhatWasMeant(t *testing.T) {
	c, k := newTokenCache(10), tokenKey{1}
	older, newer := kept(t, `{}`), kept(t, `{}`)
	c.put(&k, older)
	c.put(&k, newer)
	c.drop(&k, older)
	if c.get(&k) != newer {
		t.Error("the newer token is gone")
	}
}

func TestCacheForgetsWhatWasUsedLongestAgo(t *testing.T) {
	c := newTokenCache(2)
	k := []tokenKey{{0}, {1}, {2}}
	for i := range 2 {
		c.put(&k[i], kept(t, fmt.Sprintf(`{"n":%d}`, i)))
	}
	c.get(&k[0])
	c.put(&k[2], kept(t, `{}`))
	if c.get(&k[0]) == nil || c.get(&k[1]) != nil || c.get(&k[2]) == nil {
		t.Error("not the one that was used longest ago")
	}
}

func TestTokenThatIsTooLargeIsNotKept(t *testing.T) {
	c, k := newTokenCache(1), tokenKey{1}
	c.put(&k, kept(t, `{}`))
	c.put(&k, kept(t, `{"jti":"`+strings.Repeat("a", bytesPerToken)+`"}`))
	if c.get(&k) == nil {
		t.Error("a token that is not kept has pushed one out")
	}
}
