package realm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Options are what Realms work with. The zero value is usable.
type Options struct {
	// HTTPClient fetches keys. Nil means one with the default transport.
	// Redirects are refused whatever it says.
	HTTPClient *http.Client
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Logger is told of keys that cannot be used or had. Nil means no log.
	Logger *slog.Logger
	// BaseDir is where a relative path of a key file begins. Empty means the
	// working directory.
	BaseDir string
}

func (o Options) now() func() time.Time {
	if o.Now == nil {
		return time.Now
	}
	return o.Now
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger.With("component", "realm")
}

func (o Options) client() *http.Client {
	var c http.Client
	if o.HTTPClient != nil {
		c = *o.HTTPClient
	}
	// A redirect could lead to a place that nobody configured.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Realms are all realms of a deployment with their keys.
type Realms struct {
	realms  map[string]*Realm
	issuers map[string]*issuer
	sources []*keySource
	parser  *jwt.Parser
	now     func() time.Time
}

// issuer is one value of iss. Issuers of a realm that names a key set share its
// source; where keys are discovered, each has its own, so that none can sign
// for another.
type issuer struct {
	realm *Realm
	keys  *keySource
}

// New makes Realms. It reads key files, refusing one that cannot be read, and
// does not touch the network: keys at a URL are fetched by Load, or when first
// needed. An issuer may belong to one realm only. The caller must Close.
func New(configs map[string]Config, opts Options) (*Realms, error) {
	r := &Realms{
		realms:  make(map[string]*Realm, len(configs)),
		issuers: make(map[string]*issuer, len(configs)),
		parser:  newParser(),
		now:     opts.now(),
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		if err := r.add(name, configs[name], opts); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

func (r *Realms) add(name string, c Config, opts Options) error {
	if err := c.Validate(name); err != nil {
		return err
	}
	realm := &Realm{name, c.withDefaults()}
	for _, iss := range realm.Issuers {
		if other, taken := r.issuers[iss]; taken {
			return fmt.Errorf("issuers: %s is in realm %s and in realm %s", iss, other.realm.Name, name)
		}
	}
	r.realms[name] = realm
	if realm.JWKS == "" {
		for _, iss := range realm.Issuers {
			r.issuers[iss] = &issuer{realm, r.source(name, iss, discoverKeys(opts.client(), iss), urlTiming, opts)}
		}
		return nil
	}
	keys, err := r.configuredSource(realm, opts)
	if err != nil {
		return err
	}
	for _, iss := range realm.Issuers {
		r.issuers[iss] = &issuer{realm, keys}
	}
	return nil
}

func (r *Realms) configuredSource(realm *Realm, opts Options) (*keySource, error) {
	s, err := configuredKeys(realm.JWKS, opts, opts.logger().With("realm", realm.Name))
	if err != nil {
		return nil, fmt.Errorf("realm %s: jwks: %w", realm.Name, err)
	}
	r.sources = append(r.sources, s)
	return s, nil
}

func (r *Realms) source(name, where string, load loader, t timing, opts Options) *keySource {
	s := newSource(where, load, t, opts, opts.logger().With("realm", name))
	r.sources = append(r.sources, s)
	return s
}

// Load fetches the keys that are not there yet, so that the first requests need
// not wait. An error says which keys could not be had and why; they are tried
// again when needed, so a caller may go on. It blocks until ctx ends at most.
func (r *Realms) Load(ctx context.Context) error {
	errs := make([]error, len(r.sources))
	var wg sync.WaitGroup
	for i, s := range r.sources {
		wg.Go(func() {
			if err := s.load(ctx); err != nil {
				errs[i] = fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close ends the fetching of keys and waits for it. What is there stays usable.
func (r *Realms) Close() {
	for _, s := range r.sources {
		s.close()
	}
}

// Names are the names of the realms, sorted.
func (r *Realms) Names() []string { return slices.Sorted(maps.Keys(r.realms)) }

// All are the realms in the order of their names.
func (r *Realms) All() []*Realm {
	all := make([]*Realm, 0, len(r.realms))
	for _, name := range r.Names() {
		all = append(all, r.realms[name])
	}
	return all
}

// Get gives the realm of that name.
func (r *Realms) Get(name string) (*Realm, bool) {
	realm, ok := r.realms[name]
	return realm, ok
}

// ByIssuer gives the realm to which the value of iss belongs.
func (r *Realms) ByIssuer(iss string) (*Realm, bool) {
	is, ok := r.issuers[iss]
	if !ok {
		return nil, false
	}
	return is.realm, true
}
