package sidecar

import (
	"crypto/sha256"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/guard"
)

// readToken is what reading a token gave: nothing about revocation. It does not
// change once made.
type readToken struct {
	guard.Admitted
	// verified is nil where the sidecar is revocation-only.
	verified *realm.Verified
	// bytes is about what it takes on the heap.
	bytes int
}

// tokenKey is SHA-256 of a token's exact bytes. A token's identity would not do:
// its signature can be replaced without changing it, and then need not verify.
type tokenKey [sha256.Size]byte

func keyOf(raw string) tokenKey {
	// Most tokens fit: then nothing is allocated.
	return sha256.Sum256(append(make([]byte, 0, 1024), raw...))
}

// bytesPerToken is what a token may take in memory on average; an access token
// of 700 bytes takes about half.
const bytesPerToken = 4 << 10

// tokenCache keeps the tokens that were used last, bounded in number and in
// bytes. A nil one keeps nothing. It is safe for concurrent use.
type tokenCache struct{ shards []cacheShard }

// cacheShard has a part of the keys, so that requests seldom wait for each other.
type cacheShard struct {
	mu       sync.Mutex
	tokens   *simplelru.LRU[tokenKey, *readToken]
	bytes    int
	maxBytes int
}

// maxShards is how many shards a cache has that is not a small one.
const maxShards = 16

func newTokenCache(tokens int) *tokenCache {
	if tokens <= 0 {
		return nil
	}
	c := &tokenCache{shards: make([]cacheShard, min(maxShards, 1+tokens/128))}
	each := tokens / len(c.shards)
	for i := range c.shards {
		c.shards[i].init(each, each*bytesPerToken)
	}
	return c
}

func (s *cacheShard) init(tokens, maxBytes int) {
	s.maxBytes = maxBytes
	removed := func(_ tokenKey, t *readToken) { s.bytes -= t.bytes }
	var err error
	if s.tokens, err = simplelru.NewLRU(tokens, removed); err != nil {
		panic(err) // only for a size below 1
	}
}

func (c *tokenCache) shard(k *tokenKey) *cacheShard { return &c.shards[int(k[0])%len(c.shards)] }

// get gives what is kept of a token, nil when nothing is.
func (c *tokenCache) get(k *tokenKey) *readToken {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	t, _ := s.tokens.Get(*k)
	return t
}

// put keeps a token, in the place of those that were used longest ago.
func (c *tokenCache) put(k *tokenKey, t *readToken) {
	s := c.shard(k)
	if t.bytes > s.maxBytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.Remove(*k)
	for s.bytes+t.bytes > s.maxBytes {
		s.tokens.RemoveOldest()
	}
	s.bytes += t.bytes
	s.tokens.Add(*k, t)
}

// drop removes t, and not what may have taken its place meanwhile.
func (c *tokenCache) drop(k *tokenKey, t *readToken) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept, _ := s.tokens.Peek(*k); kept == t {
		s.tokens.Remove(*k)
	}
}

// size is how many tokens are kept, and about how many bytes they take.
func (c *tokenCache) size() (tokens, bytes int) {
	if c == nil {
		return 0, 0
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		tokens, bytes = tokens+s.tokens.Len(), bytes+s.bytes
		s.mu.Unlock()
	}
	return tokens, bytes
}

// What things take on the heap, in bytes.
const (
	bytesOfToken = 640 // the token, its place in the cache, and what surrounds it
	bytesOfClaim = 96  // a member of the token or of a map
	bytesOfValue = 16  // an interface
)

// heapOf is about what a token takes on the heap, in bytes. It looks at what is
// in it: a long token may be all names, or all numbers.
func heapOf(raw string, a *guard.Admitted) int {
	n := bytesOfToken + len(raw) + bytesOfClaim*len(a.Token.ClaimKeys())
	if a.Claims != nil {
		n += heapOfClaim(map[string]any(a.Claims))
	}
	return n
}

func heapOfClaim(v any) int {
	n := bytesOfValue
	switch v := v.(type) {
	case string:
		n += len(v)
	case float64:
		n += 8
	case []any:
		for _, e := range v {
			n += 2 * heapOfClaim(e) // a slice grows by doubling
		}
	case map[string]any:
		for name, e := range v {
			n += bytesOfClaim + len(name) + heapOfClaim(e)
		}
	}
	return n
}
