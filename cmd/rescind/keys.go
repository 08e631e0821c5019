package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/intake"
)

type keysCmd struct {
	New    keysNewCmd    `cmd:"" help:"Make a publisher's signing key: publisher.key in DIR, and its public half in publishers.jwks."`
	Rotate keysRotateCmd `cmd:"" help:"Replace a publisher's signing key; agents must have the new publishers.jwks before the publisher is started again."`
	SSF    keysSSFCmd    `cmd:"" name:"ssf" help:"Make the key that security events to receivers outside of the fleet are signed with: ssf.key in DIR."`
	Jwks   keysJwksCmd   `cmd:"" help:"Print the public key set, for the agents."`
}

type keysNewCmd struct {
	ID    string   `help:"The publisher's id; unique in the fleet." name:"id" placeholder:"HOSTNAME"`
	Kinds []string `help:"Kinds of revocation that the key may sign; none means all." placeholder:"KIND"`
}

func (c *keysNewCmd) Run(g *globals) error {
	kinds, err := parseKinds(c.Kinds)
	if err != nil {
		return usage("--kinds: %v", err)
	}
	s, err := newSigner(g.Dir, publisherID(c.ID), kinds)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; rescind keys rotate replaces it", g.path(keyFile))
	}
	if err != nil {
		return err
	}
	return printKey(g, s)
}

func parseKinds(names []string) ([]events.Kind, error) {
	var kinds []events.Kind
	for _, n := range names {
		k, err := events.ParseKind(n)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// publisherID is the id given, or the host's name.
func publisherID(id string) string {
	if id != "" {
		return id
	}
	if host, err := os.Hostname(); err == nil && host != "" {
		return strings.ReplaceAll(host, ".", "-") // an id has no dots
	}
	return "publisher"
}

func printKey(g *globals, s *events.Signer) error {
	if g.JSON {
		return printJSON(g.std.out, map[string]string{"publisher": s.Public().Publisher, "kid": s.Public().ID,
			"key": g.path(keyFile), "jwks": g.path(jwksFile)})
	}
	_, err := fmt.Fprintf(g.std.out, "key %s of publisher %s\n  private  %s\n  public   %s  (give this to every agent)\n",
		s.Public().ID, s.Public().Publisher, g.path(keyFile), g.path(jwksFile))
	return err
}

type keysRotateCmd struct{}

func (c *keysRotateCmd) Run(g *globals) error {
	old, err := readSigner(g.path(keyFile))
	if err != nil {
		return err
	}
	s, err := replaceSigner(g.Dir, old)
	if err != nil {
		return err
	}
	return printKey(g, s)
}

type keysJwksCmd struct{}

func (c *keysJwksCmd) Run(g *globals) error {
	data, err := os.ReadFile(g.path(jwksFile))
	if err != nil {
		return fmt.Errorf("reading the key set: %w", err)
	}
	if _, err := events.ParseKeySet(data); err != nil {
		return err
	}
	_, err = g.std.out.Write(data)
	return err
}

type apikeysCmd struct {
	New apikeysNewCmd `cmd:"" help:"Make a key for a caller. It is shown once; its hash goes into rescind.yaml."`
}

type apikeysNewCmd struct {
	ID     string   `arg:"" name:"id" help:"Name of the caller."`
	Realms []string `help:"Realms that it may act on; none means all." placeholder:"REALM"`
	Kinds  []string `help:"Kinds of revocation that it may order; none means all." placeholder:"KIND"`

	Receiver bool `help:"For a receiver of security events, which may order none."`
}

func (c *apikeysNewCmd) Run(g *globals) error {
	kinds, err := parseKinds(c.Kinds)
	if err != nil {
		return usage("--kinds: %v", err)
	}
	key, sum := intake.NewAPIKey()
	// As the publisher will read it, but for the realms, which are its business.
	if _, err := intake.NewAuthenticator(intake.AuthConfig{AdminKeySHA256: sha256.Sum256([]byte("nobody's")),
		APIKeys: []intake.APIKeyConfig{{ID: c.ID, SHA256: sum, Kinds: kinds, Receiver: c.Receiver}}}); err != nil {
		return usage("%v", strings.TrimPrefix(err.Error(), "api_keys[0]: "))
	}
	if g.JSON {
		return printJSON(g.std.out, map[string]any{"id": c.ID, "key": key, "sha256": sum, "realms": c.Realms, "kinds": c.Kinds,
			"receiver": c.Receiver})
	}
	fmt.Fprintf(g.std.out, "key (shown once): %s\n\nadd to rescind.yaml of the publishers:\n\napi_keys:\n  - id: %s\n    sha256: %s\n", key, c.ID, sum)
	if len(c.Realms) > 0 {
		fmt.Fprintf(g.std.out, "    realms: %s\n", yamlOf(c.Realms))
	}
	if len(c.Kinds) > 0 {
		fmt.Fprintf(g.std.out, "    kinds: %s\n", yamlOf(c.Kinds))
	}
	if c.Receiver {
		fmt.Fprintln(g.std.out, "    receiver: true")
	}
	return nil
}

type clientsCmd struct {
	New clientsNewCmd `cmd:"" help:"Make a secret for an OAuth client. It is shown once; its hash goes into rescind.yaml."`
}

type clientsNewCmd struct {
	ID    string `arg:"" name:"id" help:"The client_id, as the realm's issuer has it."`
	Realm string `help:"Realm whose issuer the client is known to." required:"" placeholder:"REALM"`
}

func (c *clientsNewCmd) Help() string {
	return `An OAuth client may revoke (RFC 7009) and introspect (RFC 7662) the tokens that were issued to it. A
client that signs assertions (private_key_jwt) has "jwks: FILE or URL" in place of the hash, one that
has no secret, such as a page in a browser, "public: true".`
}

func (c *clientsNewCmd) Run(g *globals) error {
	secret, sum := intake.NewAPIKey()
	if err := (&intake.ClientConfig{ID: c.ID, Realm: c.Realm, SecretSHA256: sum}).Validate(); err != nil {
		return usage("%v", err)
	}
	if g.JSON {
		return printJSON(g.std.out, map[string]any{"id": c.ID, "realm": c.Realm, "secret": secret, "secret_sha256": sum})
	}
	_, err := fmt.Fprintf(g.std.out, "client_secret (shown once): %s\n\nadd to rescind.yaml of the publishers:\n\n"+
		"oauth_clients:\n  - id: %s\n    realm: %s\n    secret_sha256: %s\n", secret, yamlOf(c.ID), yamlOf(c.Realm), sum)
	return err
}

// yamlOf is a text or a list of them as YAML takes it, whatever is in it.
func yamlOf[T string | []string](v T) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("yamlOf: " + err.Error()) // strings can be encoded
	}
	return string(b)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
