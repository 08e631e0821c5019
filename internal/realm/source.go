package realm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// loader gets a JWKS and says for how long it may be used without asking again.
type loader func(ctx context.Context) ([]byte, time.Duration, error)

// timing is how often a source may be asked.
type timing struct {
	// every is the least time between two loads, beyond a burst of two: the
	// first load must not keep a key that is new right after it waiting.
	every time.Duration
	// timeout ends one load.
	timeout time.Duration
}

var (
	urlTiming  = timing{every: 10 * time.Second, timeout: 10 * time.Second}
	fileTiming = timing{every: time.Second, timeout: 10 * time.Second}
)

var errClosed = errors.New("realms closed")

// keySource holds one key set and renews it. Its methods are safe for
// concurrent use.
type keySource struct {
	fetch   loader
	timing  timing
	now     func() time.Time
	log     *slog.Logger
	current atomic.Pointer[snapshot]

	// ctx is the lifetime of every load; close cancels it.
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	limit *rate.Limiter
	// flying is closed when the load under way, if any, is done.
	flying chan struct{}
	closed bool
	// last is why the last load failed, nil when it did not.
	last error
}

// snapshot is a key set with its age. It does not change once made.
type snapshot struct {
	data []byte
	keys *keySet
	// From renewAt on somebody renews it in the background; from waitAt on
	// everybody waits for that.
	renewAt, waitAt time.Time
}

func newKeySource(fetch loader, t timing, now func() time.Time, log *slog.Logger) *keySource {
	s := &keySource{fetch: fetch, timing: t, now: now, log: log, limit: rate.NewLimiter(rate.Every(t.every), 2)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// find gives the keys to try for a token, and the set that they are of. A key
// that is not there may be new, so the set is loaded once more, at the bounded
// rate, before ErrUnknownKey.
func (s *keySource) find(ctx context.Context, now time.Time, kid, alg string) (*keySet, []jwt.VerificationKey, error) {
	snap, err := s.snapshot(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	if keys, ok := snap.keys.find(kid, alg); ok {
		return snap.keys, keys, nil
	}
	if err := s.renew(ctx); err != nil {
		return nil, nil, err
	}
	set := s.current.Load().keys
	if keys, ok := set.find(kid, alg); ok {
		return set, keys, nil
	}
	return nil, nil, ErrUnknownKey
}

// snapshot gives the key set to use now. Keys past their age are used only after
// an attempt to renew them has failed not long ago.
func (s *keySource) snapshot(ctx context.Context, now time.Time) (*snapshot, error) {
	snap := s.current.Load()
	switch {
	case snap == nil || !now.Before(snap.waitAt):
		if err := s.renew(ctx); err != nil {
			return nil, err
		}
		if snap = s.current.Load(); snap == nil {
			return nil, ErrKeysUnavailable
		}
	case !now.Before(snap.renewAt):
		later := *snap
		later.renewAt = now.Add(s.timing.every)
		// Whoever wins starts the load; the others need not take the lock.
		if s.current.CompareAndSwap(snap, &later) {
			s.start()
		}
	}
	return snap, nil
}

// load gets the first key set, unless it is there, and says why it could not.
func (s *keySource) load(ctx context.Context) error {
	if s.current.Load() != nil {
		return nil
	}
	if err := s.renew(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil && s.current.Load() == nil {
		return errClosed
	}
	return s.last
}

// renew loads the set, or waits for whoever does, or does nothing where the
// bound on the rate forbids it. Its only error is that ctx ended first.
func (s *keySource) renew(ctx context.Context) error {
	done := s.start()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrKeysUnavailable, context.Cause(ctx))
	}
}

// start begins a load or joins the one under way; nil means that there is none
// and may be none now.
func (s *keySource) start() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flying != nil {
		return s.flying
	}
	if s.closed || !s.limit.AllowN(s.now(), 1) {
		return nil
	}
	done := make(chan struct{})
	s.flying = done
	s.wg.Go(func() { s.fly(done) })
	return done
}

func (s *keySource) fly(done chan<- struct{}) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timing.timeout)
	defer cancel()
	data, ttl, err := s.fetch(ctx)
	if err == nil {
		err = s.take(data, ttl)
	}
	if err != nil {
		s.keep()
	}
	s.mu.Lock()
	before := s.last
	s.last, s.flying = err, nil
	s.mu.Unlock()
	close(done)
	s.report(before, err)
}

// take puts a loaded set into use. What has not changed is not read again.
func (s *keySource) take(data []byte, ttl time.Duration) error {
	now := s.now()
	next := &snapshot{data: data, renewAt: now.Add(ttl * 3 / 4), waitAt: now.Add(ttl)}
	if old := s.current.Load(); old != nil && bytes.Equal(old.data, data) {
		next.keys = old.keys
		s.current.Store(next)
		return nil
	}
	keys, skipped, err := parseKeySet(data)
	if err != nil {
		return err
	}
	next.keys = keys
	s.current.Store(next)
	if len(skipped) > 0 {
		s.log.Warn("some keys are not used", "reason", errors.Join(skipped...))
	}
	s.log.Info("keys loaded", "usable", len(keys.all))
	return nil
}

// keep goes on with the keys that are there. While tokens come in, the load is
// tried again in the background; after a pause somebody waits for it once more.
func (s *keySource) keep() {
	old := s.current.Load()
	if old == nil {
		return
	}
	later, now := *old, s.now()
	later.renewAt, later.waitAt = now.Add(s.timing.every), now.Add(6*s.timing.every)
	s.current.Store(&later)
}

// report logs the beginning and the end of a failure, not each attempt.
func (s *keySource) report(before, err error) {
	switch {
	case err != nil && before == nil:
		s.log.Warn("keys cannot be had: those at hand stay in use", "error", err)
	case err != nil:
		s.log.Debug("keys still cannot be had", "error", err)
	case before != nil:
		s.log.Info("keys can be had again")
	}
}

func (s *keySource) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(errClosed)
	s.wg.Wait()
}
