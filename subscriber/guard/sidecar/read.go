package sidecar

import (
	"context"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber/guard"
)

// admittedBy is the guard's reading of a token.
func (s *Sidecar) admittedBy(ctx context.Context, raw string) (*guard.Admitted, error) {
	t, err := s.read(ctx, raw)
	if err != nil {
		return nil, s.judged(err)
	}
	return &t.Admitted, nil
}

// read gives what is kept of a token, or reads it and keeps what that gave. A
// token that is refused is not kept: whoever makes up tokens must not push out
// those that are good.
func (s *Sidecar) read(ctx context.Context, raw string) (*readToken, error) {
	if s.cache == nil {
		return s.readAnew(ctx, raw)
	}
	key := keyOf(raw)
	if t := s.cache.get(&key); t != nil {
		err := s.judgeKept(ctx, t)
		if err == nil {
			s.metrics.cacheHits.Inc()
			return t, nil
		}
		if errors.Is(err, realm.ErrExpired) || errors.Is(err, realm.ErrKeysChanged) {
			s.cache.drop(&key, t)
		}
		if !errors.Is(err, realm.ErrKeysChanged) {
			s.metrics.cacheHits.Inc()
			return nil, err
		}
	}
	s.metrics.cacheMisses.Inc()
	t, err := s.readAnew(ctx, raw)
	if err == nil {
		s.cache.put(&key, t)
	}
	return t, err
}

// judgeKept judges what changes with time: the token's times, and whether its
// issuer still lists the keys that it was verified with.
func (s *Sidecar) judgeKept(ctx context.Context, t *readToken) error {
	if t.verified == nil {
		return nil
	}
	return s.cfg.Realms.VerifyAgain(ctx, t.verified)
}

// readAnew tells the agent of a verified token. One that is kept need not be
// observed again: the agent remembers it until it expires. Where it had no room,
// its counts say so.
func (s *Sidecar) readAnew(ctx context.Context, raw string) (*readToken, error) {
	t := &readToken{}
	var err error
	if s.cfg.Realms == nil {
		t.Token, err = events.ParseToken(raw)
	} else if t.verified, err = s.cfg.Realms.Verify(ctx, raw); err == nil {
		t.Token, t.Claims = t.verified.Token, t.verified.Claims
		s.cfg.Agent.Observe(t.Token)
	}
	if err != nil {
		return nil, err
	}
	t.bytes = heapOf(raw, &t.Admitted)
	return t, nil
}

// judged translates an error of Realms for the guard.
func (s *Sidecar) judged(err error) error {
	switch {
	case errors.Is(err, realm.ErrKeysUnavailable):
		s.keysAway.Do(func() { s.log.Warn("tokens cannot be verified", "err", err) })
		return fmt.Errorf("%w: %w", guard.ErrUnavailable, err)
	case errors.Is(err, realm.ErrUnrevocable), errors.Is(err, realm.ErrNoExpiry):
		s.log.Debug("a token is not allowed", "err", err)
		return fmt.Errorf("%w: %w", guard.ErrForbidden, err)
	case errors.Is(err, realm.ErrExpired):
		return fmt.Errorf("%w: %w", jwt.ErrTokenExpired, err)
	default:
		s.log.Debug("a token was not accepted", "err", err)
		return err
	}
}
