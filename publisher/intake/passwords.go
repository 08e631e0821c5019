package intake

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// errPassword is one error for both, so that it does not tell who is known.
var errPassword = fmt.Errorf("%w: unknown user or wrong password", ErrBadCredentials)

// maxPassword is how much of a password bcrypt reads, in bytes. A longer one
// would be taken for its beginning.
const maxPassword = 72

// How many accepted passwords are remembered, and for how long: bcrypt is slow
// on purpose, and a client sends its password with each request.
const (
	maxRemembered = 1024
	rememberFor   = 5 * time.Minute
)

// passwords checks users' passwords. It is safe for concurrent use.
type passwords struct {
	users map[string]UserConfig
	now   func() time.Time
	// decoy is compared with where a user is unknown, so that the time it takes
	// does not tell who is known.
	decoy string
	// slots bound how many passwords are compared at once: each costs the
	// processor tens of milliseconds, and anybody may send them.
	slots chan struct{}
	// secret keys the hashes by which accepted passwords are remembered. It
	// never leaves the process.
	secret [32]byte

	mu       sync.Mutex
	accepted map[[sha256.Size]byte]time.Time // until when
}

// newPasswords takes users whose hashes were checked. A nil now is time.Now.
func newPasswords(users []UserConfig, now func() time.Time) (*passwords, error) {
	p := &passwords{
		users:    make(map[string]UserConfig, len(users)),
		now:      now,
		slots:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		accepted: make(map[[sha256.Size]byte]time.Time),
	}
	if now == nil {
		p.now = time.Now
	}
	rand.Read(p.secret[:])
	cost := bcrypt.MinCost
	for _, u := range users {
		n, err := bcrypt.Cost([]byte(u.Bcrypt))
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", u.Name, err)
		}
		p.users[u.Name], cost = u, max(cost, n)
	}
	decoy, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	p.decoy = string(decoy)
	return p, err
}

// check gives the user of that name and password, or errPassword, or the reason
// why ctx ended before there was an answer.
func (p *passwords) check(ctx context.Context, name, password string) (UserConfig, error) {
	if len(password) > maxPassword {
		return UserConfig{}, errPassword
	}
	u, known := p.users[name]
	if !known {
		u.Bcrypt = p.decoy
	}
	key := p.hash(u, password)
	if p.wasAccepted(key) {
		return u, nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return UserConfig{}, fmt.Errorf("checking password: %w", context.Cause(ctx))
	}
	if bcrypt.CompareHashAndPassword([]byte(u.Bcrypt), []byte(password)) != nil || !known {
		return UserConfig{}, errPassword
	}
	p.accept(key)
	return u, nil
}

func (p *passwords) hash(u UserConfig, password string) [sha256.Size]byte {
	h := hmac.New(sha256.New, p.secret[:])
	fmt.Fprintf(h, "%q %q", u.Name, password)
	return [sha256.Size]byte(h.Sum(nil))
}

func (p *passwords) wasAccepted(key [sha256.Size]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.accepted[key]
	return ok && p.now().Before(until)
}

func (p *passwords) accept(key [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.accepted) >= maxRemembered {
		clear(p.accepted)
	}
	p.accepted[key] = p.now().Add(rememberFor)
}
