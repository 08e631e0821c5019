package intake

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
)

// AuthConfig says whom an Authenticator knows.
type AuthConfig struct {
	// AdminKeySHA256 is the hash of the admin key. Zero means there is none.
	AdminKeySHA256 [sha256.Size]byte
	APIKeys        []APIKeyConfig
	Users          []UserConfig
	Clients        []ClientConfig
	TLSClients     []TLSClientConfig
	// Keys say how clients' keys are fetched, and where their files are. Its clock
	// is Now.
	Keys realm.Options
	// Realms verify bearers. Nil means that no bearer is known.
	Realms *realm.Realms
	// AdminRealms are the realms whose bearers of scope rescind:all are not bound
	// to their own realm. Whoever issues tokens there can sign everybody out, so
	// there are none by default.
	AdminRealms []string
	// Revoked tells whether a bearer's token is revoked. It must not block. Nil
	// means that none is.
	Revoked func(*events.Token) bool
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// APIKeyConfig is an API key as rescind.yaml has it: its hash, and its bounds.
type APIKeyConfig struct {
	ID     string        `yaml:"id"`
	SHA256 string        `yaml:"sha256"` // in hexadecimal, as NewAPIKey gives it
	Realms []string      `yaml:"realms"` // absent means all
	Kinds  []events.Kind `yaml:"kinds"`  // absent means all
	// Receiver marks a key that may have streams of events and nothing else.
	Receiver bool `yaml:"receiver"`
}

// UserConfig is a user of Basic authentication as rescind.yaml has it.
type UserConfig struct {
	Name   string        `yaml:"name"`
	Bcrypt string        `yaml:"bcrypt"` // such as htpasswd -B makes
	Realms []string      `yaml:"realms"` // absent means all
	Kinds  []events.Kind `yaml:"kinds"`  // absent means all
}

// TLSClientConfig is a caller who is known by the subject of its certificate, as
// rescind.yaml has it. The server has verified the certificate.
type TLSClientConfig struct {
	// Subject is the distinguished name as RFC 2253 writes it, such as
	// CN=ops,O=Example; compared to the letter.
	Subject  string        `yaml:"subject"`
	Realms   []string      `yaml:"realms"` // absent means all
	Kinds    []events.Kind `yaml:"kinds"`  // absent means all
	Receiver bool          `yaml:"receiver"`
}

// ClientConfig is an OAuth client as rescind.yaml has it. It may revoke and
// introspect the tokens that its realm has issued to it. It has exactly one of
// SecretSHA256, JWKS and Public.
type ClientConfig struct {
	ID    string `yaml:"id"` // client_id
	Realm string `yaml:"realm"`
	// SecretSHA256 is the hash of its secret in hexadecimal. No salt slows down who
	// guesses, so the secret must be one that a machine made.
	SecretSHA256 string `yaml:"secret_sha256"`
	// JWKS is the file or the URL of the keys that it signs assertions with
	// (private_key_jwt).
	JWKS string `yaml:"jwks"`
	// Public marks a client that has no secret, such as one in a browser. It may
	// not introspect.
	Public bool `yaml:"public"`
}

// NewAPIKey makes an API key, to be shown once, and its SHA-256 in hexadecimal,
// to be kept.
func NewAPIKey() (key, sha256hex string) {
	var b [32]byte
	rand.Read(b[:])
	key = "rsk_" + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(sum[:])
}

// adminName is the user name under which the admin key is a password.
const adminName = "admin"

// maxBcryptCost keeps a configured hash from stopping the publisher.
const maxBcryptCost = 15

var callerName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,128}$`)

// noKey is the hash of nothing, which the hash of a key must not be.
var noKey = sha256.Sum256(nil)

// validate refuses a configuration that names two callers alike, or that bounds
// one to what does not exist. The error names the field.
func (c *AuthConfig) validate() error {
	if c.AdminKeySHA256 == noKey {
		return errors.New("admin key: is empty")
	}
	// All of them come as the first half of Basic credentials.
	taken := map[string]bool{adminName: true}
	sums := map[[sha256.Size]byte]bool{c.AdminKeySHA256: true, noKey: true}
	for i, k := range c.APIKeys {
		err := errors.Join(checkName("id", k.ID, taken), checkSum(k.SHA256, sums), c.checkBounds(k.Realms, k.Kinds))
		if err == nil && k.Receiver && k.Kinds != nil {
			err = errReceiverKinds
		}
		if err != nil {
			return fmt.Errorf("api_keys[%d]: %w", i, err)
		}
	}
	for i, u := range c.Users {
		if err := errors.Join(checkName("name", u.Name, taken), checkHash(u.Bcrypt), c.checkBounds(u.Realms, u.Kinds)); err != nil {
			return fmt.Errorf("users[%d]: %w", i, err)
		}
	}
	if err := c.validateClients(taken); err != nil {
		return err
	}
	subjects := map[string]bool{"": true}
	for i, t := range c.TLSClients {
		err := c.checkBounds(t.Realms, t.Kinds)
		switch {
		case subjects[t.Subject]:
			err = errors.New("subject: is empty, or one that is listed twice")
		case t.Receiver && t.Kinds != nil:
			err = errReceiverKinds
		}
		if err != nil {
			return fmt.Errorf("tls_clients[%d]: %w", i, err)
		}
		subjects[t.Subject] = true
	}
	if err := c.checkRealms(c.AdminRealms); err != nil {
		return fmt.Errorf("admin_realms: %w", err)
	}
	return nil
}

// clientID is any printable ASCII (RFC 6749 appendix A.1).
var clientID = regexp.MustCompile(`^[ -~]{1,256}$`)

// Validate refuses a client that could not work, whatever else is configured. The
// error names the field as rescind.yaml calls it.
func (c *ClientConfig) Validate() error {
	if !clientID.MatchString(c.ID) {
		return errors.New("id: must be 1 to 256 printable ASCII characters")
	}
	ways := 0
	for _, given := range []bool{c.SecretSHA256 != "", c.JWKS != "", c.Public} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("give exactly one of secret_sha256, jwks and public")
	}
	if sum, err := parseSum(c.SecretSHA256); c.SecretSHA256 != "" && (err != nil || sum == noKey) {
		return errors.New("secret_sha256: not 64 hexadecimal digits, or that of an empty secret")
	}
	return nil
}

func (c *AuthConfig) validateClients(taken map[string]bool) error {
	for i, client := range c.Clients {
		err := client.Validate()
		if err == nil && taken[client.ID] {
			err = fmt.Errorf("id: %q is taken", client.ID)
		}
		if err == nil {
			if err = c.checkRealms([]string{client.Realm}); err != nil {
				err = fmt.Errorf("realm: %w", err)
			}
		}
		if err != nil {
			return fmt.Errorf("oauth_clients[%d]: %w", i, err)
		}
		taken[client.ID] = true
	}
	return nil
}

func (c *AuthConfig) keyOptions() realm.Options {
	o := c.Keys
	o.Now = c.Now
	return o
}

var errReceiverKinds = errors.New("kinds: a receiver revokes nothing")

func checkName(field, name string, taken map[string]bool) error {
	if !callerName.MatchString(name) {
		return fmt.Errorf("%s: must be 1 to 128 of letters, digits and . _ @ -", field)
	}
	if taken[name] {
		return fmt.Errorf("%s: %q is taken", field, name)
	}
	taken[name] = true
	return nil
}

func checkSum(text string, taken map[[sha256.Size]byte]bool) error {
	sum, err := parseSum(text)
	if err != nil {
		return err
	}
	if taken[sum] {
		return errors.New("sha256: is that of an empty key, or of one that is listed twice")
	}
	taken[sum] = true
	return nil
}

func parseSum(text string) ([sha256.Size]byte, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != sha256.Size {
		return [sha256.Size]byte{}, errors.New("sha256: not 64 hexadecimal digits")
	}
	return [sha256.Size]byte(b), nil
}

func checkHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return errors.New("bcrypt: not a bcrypt hash")
	}
	if cost > maxBcryptCost {
		return fmt.Errorf("bcrypt: cost %d is above %d", cost, maxBcryptCost)
	}
	return nil
}

// checkBounds refuses empty lists: one that was emptied to mean nothing must not
// come to mean all.
func (c *AuthConfig) checkBounds(realms []string, kinds []events.Kind) error {
	if realms != nil && len(realms) == 0 {
		return errors.New("realms: is empty: name some, or leave it out to mean all")
	}
	if kinds != nil && len(kinds) == 0 {
		return errors.New("kinds: is empty: name some, or leave it out to mean all")
	}
	for _, k := range kinds {
		if _, err := events.ParseKind(string(k)); err != nil {
			return fmt.Errorf("kinds: %w", err)
		}
	}
	if err := c.checkRealms(realms); err != nil {
		return fmt.Errorf("realms: %w", err)
	}
	return nil
}

func (c *AuthConfig) checkRealms(names []string) error {
	for _, name := range names {
		if c.Realms != nil {
			if _, ok := c.Realms.Get(name); ok {
				continue
			}
		}
		return fmt.Errorf("no realm is called %q", name)
	}
	return nil
}
