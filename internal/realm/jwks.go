package realm

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
)

// Keys are the keys of somebody who signs statements and is no realm, such as a
// client or a transmitter of security events. They are renewed as a realm's are. It
// is safe for concurrent use.
type Keys struct {
	source *keySource
	parser *jwt.Parser
	now    func() time.Time
}

// OpenKeys takes keys from a JWKS: a file, which must be readable now, or a URL,
// which is fetched when first needed. The caller must Close.
func OpenKeys(where string, opts Options) (*Keys, error) {
	if strings.Contains(where, "://") {
		if _, err := webURL(where); err != nil {
			return nil, err
		}
	}
	s, err := configuredKeys(where, opts, opts.logger())
	if err != nil {
		return nil, err
	}
	return &Keys{s, newParser(), opts.now()}, nil
}

// DiscoverTransmitterKeys takes the keys that a transmitter of security events names
// in its configuration (SSF 1.0 section 7.1), fetched when first needed. The caller
// must Close.
func DiscoverTransmitterKeys(issuer string, opts Options) (*Keys, error) {
	u, err := webURL(issuer)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("has a query or a fragment")
	}
	s := newSource(issuer, discoverTransmitterKeys(opts.client(), u), urlTiming, opts, opts.logger())
	return &Keys{s, newParser(), opts.now()}, nil
}

// Close ends the fetching of keys and waits for it. What is there stays usable.
func (k *Keys) Close() { k.source.close() }

func newParser() *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
}

// configuredKeys is a source of keys at a URL or in a file.
func configuredKeys(where string, opts Options, log *slog.Logger) (*keySource, error) {
	if strings.Contains(where, "://") {
		return newSource(where, fetchKeys(opts.client(), where), urlTiming, opts, log), nil
	}
	if !filepath.IsAbs(where) {
		where = filepath.Join(opts.BaseDir, where)
	}
	keys := newSource(where, readKeys(where), fileTiming, opts, log)
	if err := keys.load(context.Background()); err != nil {
		keys.close()
		return nil, err
	}
	return keys, nil
}

func newSource(where string, load loader, t timing, opts Options, log *slog.Logger) *keySource {
	log = log.With("keys", where)
	if u, err := url.Parse(where); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		log.Warn("keys come over plain HTTP: whoever is between can forge tokens")
	}
	return newKeySource(load, t, opts.now(), log)
}

// Verify reads a statement and verifies its signature. Its times and what it says
// are the caller's to judge. The errors are those of Realms.VerifySignature; it may
// wait for keys until ctx ends.
func (k *Keys) Verify(ctx context.Context, raw string) (*Statement, error) {
	s, err := events.ParseStatement(raw)
	if err != nil {
		return nil, err
	}
	return verifyStatement(ctx, k.parser, k.source, raw, s, nil, k.now())
}
