package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/rescind/rescind/internal/realm"
)

type tokenCmd struct {
	User    string        `help:"The user (sub)." required:""`
	Realm   string        `help:"The development realm: demo or partner." default:"demo"`
	Session string        `help:"The session (sid)." placeholder:"S"`
	Client  string        `help:"The client (client_id, azp)." placeholder:"C"`
	Scope   string        `help:"The scope." placeholder:"S"`
	Aud     string        `help:"Whom the token is meant for (aud)." placeholder:"A"`
	TTL     time.Duration `name:"ttl" help:"How long the token lives." default:"1h"`
	Alg     string        `help:"EdDSA, ES256 or RS256." enum:"EdDSA,ES256,RS256" default:"EdDSA"`
}

// Validate is kong's.
func (c *tokenCmd) Validate() error {
	if c.TTL <= 0 {
		return errors.New("--ttl must be above zero")
	}
	return nil
}

// Run prints a token and nothing else.
func (c *tokenCmd) Run(g *globals) error {
	dev, err := realm.OpenDev(g.Dir)
	if err != nil {
		return err
	}
	raw, err := dev.Issue(realm.TokenRequest{Realm: c.Realm, User: c.User, Session: c.Session, Client: c.Client,
		Scope: c.Scope, Audience: c.Aud, TTL: c.TTL, Alg: c.Alg})
	if err != nil {
		return usage("%v", err)
	}
	if g.JSON {
		return printJSON(g.std.out, map[string]string{"token": raw})
	}
	_, err = fmt.Fprintln(g.std.out, raw)
	return err
}
