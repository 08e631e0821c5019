package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read the configuration as a publisher would, and say what is wrong."`
}

type configCheckCmd struct {
	Monitor string `help:"URL of a nats-server's HTTP monitor: check that it syncs at every write." placeholder:"URL"`
}

// configReport is what a configuration holds.
type configReport struct {
	File         string `json:"file,omitempty"`
	Realms       int    `json:"realms"`
	APIKeys      int    `json:"api_keys"`
	Users        int    `json:"users"`
	OAuthClients int    `json:"oauth_clients"`
	Transmitters int    `json:"ssf_transmitters"`
	SyncAlways   bool   `json:"sync_always,omitempty"`
}

// Run finds all that can be found without starting: the file was read and its
// keys were checked before.
func (c *configCheckCmd) Run(ctx context.Context, g *globals) error {
	realms, err := realm.New(g.file.Realms, realm.Options{Logger: slog.New(slog.DiscardHandler), BaseDir: g.file.dir()})
	if err != nil {
		return g.file.wrong(err)
	}
	defer realms.Close()
	auth, err := intake.NewAuthenticator(g.callers(realms, slog.New(slog.DiscardHandler)))
	if err != nil {
		return g.file.wrong(err)
	}
	defer auth.Close()
	transmitters, err := intake.OpenTransmitters(g.file.SSFTransmitters, realms, g.keyOptions(slog.New(slog.DiscardHandler)))
	if err != nil {
		return g.file.wrong(err)
	}
	defer transmitters.Close()
	if c.Monitor != "" {
		if err := c.checkSync(ctx, g); err != nil {
			return err
		}
	}
	return c.print(g, configReport{g.file.path, len(g.file.Realms), len(g.file.APIKeys), len(g.file.Users),
		len(g.file.OAuthClients), len(g.file.SSFTransmitters), c.Monitor != ""})
}

func (c *configCheckCmd) print(g *globals, r configReport) error {
	if g.JSON {
		return printJSON(g.std.out, r)
	}
	where := r.File
	if where == "" {
		where = "no configuration file; defaults"
	}
	if r.SyncAlways {
		fmt.Fprintln(g.std.out, "nats-server syncs at every write: ok")
	}
	_, err := fmt.Fprintf(g.std.out, "%s: ok, %d realms, %d API keys, %d users, %d OAuth clients, %d transmitters\n",
		where, r.Realms, r.APIKeys, r.Users, r.OAuthClients, r.Transmitters)
	return err
}

// checkSync asks the server whether an acknowledged message survives a power cut.
func (c *configCheckCmd) checkSync(ctx context.Context, g *globals) error {
	client, base, err := g.httpClient(c.Monitor)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/jsz", nil)
	if err != nil {
		return usage("--monitor: %v", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the monitor: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the monitor answered %s", res.Status)
	}
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
	return nil
}
