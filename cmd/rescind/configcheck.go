package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/rescind/rescind/internal/realm"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read the configuration as a publisher would, and say what is wrong."`
}

type configCheckCmd struct {
	Monitor string `help:"URL of a nats-server's HTTP monitor: check that it syncs at every write." placeholder:"URL"`
}

// Run finds all that can be found without starting: the file was read and its
// keys were checked before.
func (c *configCheckCmd) Run(ctx context.Context, g *globals) error {
	realms, err := realm.New(g.file.Realms, realm.Options{Logger: slog.New(slog.DiscardHandler), BaseDir: g.file.dir()})
	if err != nil {
		return err
	}
	defer realms.Close()
	where := g.file.path
	if where == "" {
		where = "no configuration file; defaults"
	}
	fmt.Fprintf(g.std.out, "%s: ok, %d realms, %d API keys, %d users\n", where, len(realms.All()), len(g.file.APIKeys), len(g.file.Users))
	if c.Monitor == "" {
		return nil
	}
	return c.checkSync(ctx, g)
}

// checkSync asks the server whether an acknowledged message survives a power cut.
func (c *configCheckCmd) checkSync(ctx context.Context, g *globals) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.Monitor, "/")+"/jsz", nil)
	if err != nil {
		return usage("--monitor: %v", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the monitor: %w", err)
	}
	defer res.Body.Close()
	var jsz struct {
		Config struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&jsz); err != nil {
		return fmt.Errorf("the monitor's answer: %w", err)
	}
	if !jsz.Config.SyncAlways {
		return fmt.Errorf("nats-server does not sync at every write: a power cut can lose acknowledged revocations; set \"sync_interval: always\" in its jetstream block")
	}
	fmt.Fprintln(g.std.out, "nats-server syncs at every write: ok")
	return nil
}
