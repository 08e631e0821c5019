package intake

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// TransmitterConfig is whose security events are taken (SSF 1.0), as rescind.yaml has
// it.
type TransmitterConfig struct {
	// Issuer is iss of its events.
	Issuer string `yaml:"issuer"`
	// Realm is where it may revoke, and whose users its subjects are.
	Realm string `yaml:"realm"`
	// Tenant is what the transmitter calls the realm. Empty means the realm's name.
	Tenant string `yaml:"tenant"`
	// Audience are the values of aud of which an event must have one. None means the
	// publisher's public URL.
	Audience []string `yaml:"audience"`
	// JWKS is the URL or the file of its keys. Empty means those that its
	// ssf-configuration names.
	JWKS string `yaml:"jwks"`
	// AuthorizationSHA256 is the hash, in hexadecimal, of the Authorization header
	// that its pushes must have, scheme included. Empty means that its signature is
	// enough.
	AuthorizationSHA256 string `yaml:"authorization_sha256"`
	// Kinds are the kinds of target that it may revoke. None means token, session and
	// user.
	Kinds []events.Kind `yaml:"kinds"`
	// Events are the event types, as URIs, that sign their subject out. None means
	// those of CAEP and RISC that say so.
	Events []string `yaml:"events"`
	// Poll is where its events are fetched. Empty means that it pushes.
	Poll PollConfig `yaml:"poll"`
}

// PollConfig is where a stream's events are fetched (RFC 8936).
type PollConfig struct {
	// URL is the stream's endpoint_url.
	URL string `yaml:"url"`
	// TokenFile holds the bearer token that goes with each request. It is read anew
	// each time.
	TokenFile string `yaml:"token_file"`
}

// revokingEvents are the event types that sign their subject out by default. The
// last is RISC's from before CAEP had its own.
var revokingEvents = []string{
	"https://schemas.openid.net/secevent/caep/event-type/session-revoked",
	"https://schemas.openid.net/secevent/risc/event-type/account-disabled",
	"https://schemas.openid.net/secevent/risc/event-type/account-purged",
	"https://schemas.openid.net/secevent/risc/event-type/account-credential-change-required",
	"https://schemas.openid.net/secevent/risc/event-type/credential-compromise",
	"https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
}

// Transmitters are those whose events are taken. Its methods are safe for concurrent
// use.
type Transmitters struct {
	byIssuer map[string]*transmitter
}

type transmitter struct {
	TransmitterConfig
	realm         *realm.Realm
	keys          *realm.Keys
	authorization [sha256.Size]byte
}

// OpenTransmitters refuses a configuration that could not work, by the name of the
// field as rescind.yaml calls it. Keys at a URL are fetched when first needed. The
// caller must Close.
func OpenTransmitters(configs []TransmitterConfig, realms *realm.Realms, keys realm.Options) (*Transmitters, error) {
	all := &Transmitters{byIssuer: map[string]*transmitter{}}
	for i, c := range configs {
		t, err := openTransmitter(c, realms, keys)
		if err == nil && all.byIssuer[c.Issuer] != nil {
			t.keys.Close()
			err = errors.New("issuer: is listed twice")
		}
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("ssf_transmitters[%d]: %w", i, err)
		}
		all.byIssuer[c.Issuer] = t
	}
	return all, nil
}

// Close ends the fetching of keys and waits for it.
func (t *Transmitters) Close() {
	for _, one := range t.byIssuer {
		one.keys.Close()
	}
}

func openTransmitter(c TransmitterConfig, realms *realm.Realms, opts realm.Options) (*transmitter, error) {
	t := &transmitter{TransmitterConfig: c}
	if c.Issuer == "" || len(c.Issuer) > events.MaxValueBytes {
		return nil, fmt.Errorf("issuer: must be 1 to %d bytes", events.MaxValueBytes)
	}
	var ok bool
	if t.realm, ok = realms.Get(c.Realm); !ok {
		return nil, fmt.Errorf("realm: no realm is called %q", c.Realm)
	}
	if err := t.readChoices(); err != nil {
		return nil, err
	}
	if f := t.Poll.TokenFile; f != "" && !filepath.IsAbs(f) {
		t.Poll.TokenFile = filepath.Join(opts.BaseDir, f)
	}
	var err error
	if c.JWKS != "" {
		if t.keys, err = realm.OpenKeys(c.JWKS, opts); err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
		return t, nil
	}
	if t.keys, err = realm.DiscoverTransmitterKeys(c.Issuer, opts); err != nil {
		return nil, fmt.Errorf("issuer: keys cannot be discovered: %w (set jwks)", err)
	}
	return t, nil
}

func (t *transmitter) readChoices() (err error) {
	if t.AuthorizationSHA256 != "" {
		if t.authorization, err = parseSum(t.AuthorizationSHA256); err != nil || t.authorization == noKey {
			return errors.New("authorization_sha256: not 64 hexadecimal digits, or that of an empty header")
		}
	}
	for name, empty := range map[string]bool{"audience": t.Audience != nil && len(t.Audience) == 0,
		"kinds": t.Kinds != nil && len(t.Kinds) == 0, "events": t.Events != nil && len(t.Events) == 0} {
		if empty {
			return fmt.Errorf("%s: is empty: name some, or leave it out", name)
		}
	}
	for _, k := range t.Kinds {
		if _, err := events.ParseKind(string(k)); err != nil {
			return fmt.Errorf("kinds: %w", err)
		}
	}
	for _, e := range t.Events {
		if u, err := url.Parse(e); err != nil || !u.IsAbs() {
			return fmt.Errorf("events: %q is not a URI", e)
		}
	}
	if t.Kinds == nil {
		t.Kinds = []events.Kind{events.KindToken, events.KindSession, events.KindUser}
	}
	if t.Events == nil {
		t.Events = revokingEvents
	}
	return t.Poll.validate()
}

func (c PollConfig) validate() error {
	if c.URL == "" {
		if c.TokenFile != "" {
			return errors.New("poll: url is missing")
		}
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return errors.New("poll: url: not an http or https URL, or one with a password")
	}
	return nil
}

// knows tells whether the request has the Authorization header that was agreed on.
func (t *transmitter) knows(authorization []string) bool {
	if t.AuthorizationSHA256 == "" {
		return true
	}
	if len(authorization) != 1 {
		return false
	}
	sum := sha256.Sum256([]byte(authorization[0]))
	return subtle.ConstantTimeCompare(sum[:], t.authorization[:]) == 1
}

// caller is the transmitter, as whom the event's initiator acts.
func (t *transmitter) caller(by events.Initiator) *Caller {
	return &Caller{Name: "transmitter:" + t.Realm + ":" + t.Issuer, Kind: CallerTransmitter, Realms: []string{t.Realm},
		Kinds: t.Kinds, Initiator: by}
}

// home is the realm, and the issuer where the transmitter is that itself.
func (t *transmitter) home(realms *realm.Realms) home {
	h := home{realms: realms, realm: t.realm, tenant: t.Tenant}
	if slices.Contains(t.realm.Issuers, t.Issuer) {
		h.issuer = t.Issuer
	}
	return h
}
