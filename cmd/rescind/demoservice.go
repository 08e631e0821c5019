package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
)

// demoServiceCmd is what a service with an embedded agent looks like.
type demoServiceCmd struct {
	Instance string `required:""`
	Realms   string `help:"Where the development realms are." required:""`
	Keys     string `required:""`
	Listen   string `default:"127.0.0.1:0"`
}

func (c *demoServiceCmd) Run(ctx context.Context, g *globals) (err error) {
	log := g.logger()
	dev, err := realm.OpenDev(c.Realms)
	if err != nil {
		return err
	}
	realms, err := realm.New(dev.Configs(), realm.Options{Logger: log})
	if err != nil {
		return err
	}
	defer realms.Close()
	srv, err := listen("service", c.Listen, nil)
	if err != nil {
		return err
	}
	nc, err := g.connect(log, "demo service "+c.Instance)
	if err != nil {
		return err
	}
	defer nc.Close()
	agent, err := subscriber.Open(ctx, nc, subscriber.Config{Fleet: events.Fleet(g.Fleet), Service: "shop", Instance: c.Instance,
		Dir: g.Dir, Keys: subscriber.KeysFile(c.Keys), Version: programVersion(), Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Close()) }()
	verify := func(ctx context.Context, raw string) (jwt.MapClaims, error) {
		v, err := realms.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		return v.Claims, nil
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sub, _ := guard.Claims(r.Context()).GetSubject()
		fmt.Fprintf(w, "hello %s, this is %s\n", sub, c.Instance)
	})
	fmt.Fprintf(g.std.out, "service %s is up at %s\n", c.Instance, srv.url())
	return serveAll(ctx, log, served{srv, guard.Middleware(agent, verify)(hello), nil})
}
