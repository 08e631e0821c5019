package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"
)

// The exit codes that scripts rely on.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnconfirmed = 3
)

// streams are the program's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// exit ends a command with a code of its own; the message, if any, goes to
// standard error.
type exit struct {
	code    int
	message string
}

func (e exit) Error() string { return e.message }

// usage is an error that exits with 2.
func usage(format string, args ...any) error { return exit{exitUsage, fmt.Sprintf(format, args...)} }

// globals are the flags that every command has.
type globals struct {
	Config     string `help:"Configuration file. Default: ./rescind.yaml, then /etc/rescind/rescind.yaml, where they exist." placeholder:"FILE"`
	Dir        string `help:"Where rescind keeps its data." default:"${dir}" placeholder:"DIR"`
	Publisher  string `help:"URL of the publisher." default:"http://127.0.0.1:7480" placeholder:"URL"`
	Agent      string `help:"URL of the agent, or unix:/path." default:"http://127.0.0.1:7481" placeholder:"URL"`
	Nats       string `help:"URL of NATS, several separated by commas." default:"nats://127.0.0.1:4222" placeholder:"URL"`
	NatsCreds  string `help:"NATS credentials file." placeholder:"FILE"`
	APIKeyFile string `name:"api-key-file" help:"File with the key to show to the publisher. Default: admin.key in DIR." placeholder:"FILE"`
	CA         string `name:"ca" help:"CA of the certificates of publisher, agent and NATS, in PEM. Default: those of the system." placeholder:"FILE"`
	ClientCert string `help:"Certificate to show to publisher, agent and NATS, in PEM." placeholder:"FILE"`
	ClientKey  string `help:"Private key of that certificate, in PEM." placeholder:"FILE"`
	Fleet      string `help:"Name of the deployment; prefix of its subjects and streams." default:"rescind"`
	JSON       bool   `name:"json" help:"Print JSON."`
	LogLevel   string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat  string `help:"text or json." enum:"text,json" default:"text"`

	file *fileConfig
	std  streams
}

type cli struct {
	globals

	Up          upCmd          `cmd:"" help:"Everything in one process on an embedded NATS: publisher, one agent, development realms."`
	Demo        demoCmd        `cmd:"" help:"The whole story on real processes and tokens, then exit."`
	Revoke      revokeCmd      `cmd:"" help:"Revoke a token, tokens, a session, a user, a client, a realm, or all."`
	Check       checkCmd       `cmd:"" help:"Ask the agent about a token. Exits with 0 live, 1 refused, 3 not ready or stale."`
	Status      statusCmd      `cmd:"" help:"Show the agents, as the publisher knows them."`
	Token       tokenCmd       `cmd:"" help:"Print a token of a development realm."`
	NatsServer  natsCmd        `cmd:"" name:"nats" help:"Run the embedded NATS server alone, with the documented settings."`
	Streams     streamsCmd     `cmd:"" help:"Make the fleet's streams, or mend their settings."`
	RunPub      publisherCmd   `cmd:"" name:"publisher" help:"Run a publisher."`
	RunAgent    agentCmd       `cmd:"" name:"agent" help:"Run an agent beside a service (sidecar)."`
	Audit       auditCmd       `cmd:"" help:"Follow, export and verify the audit stream."`
	Keys        keysCmd        `cmd:"" help:"Make and show publishers' signing keys."`
	APIKeys     apikeysCmd     `cmd:"" name:"apikeys" help:"Make keys for callers."`
	Clients     clientsCmd     `cmd:"" help:"Make secrets for OAuth clients."`
	ConfigCmd   configCmd      `cmd:"" name:"config" help:"Check the configuration."`
	Bench       benchCmd       `cmd:"" help:"Measure checks and propagation in a running fleet. Reads only, but for --revoke."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	DemoService demoServiceCmd `cmd:"" hidden:"" help:"A small service with an embedded agent, for the demo."`
}

const description = `Signs people out of a whole fleet of services that verify JWTs on their own.

Start with "rescind up"; after it, no command needs a flag. Every flag has a variable
(RESCIND_DIR for --dir) and a key in rescind.yaml (nats_creds for --nats-creds).

Exit codes: 0 done, 1 failed, 2 usage, 3 accepted but not confirmed by all.`

// run parses and runs one command, and gives the exit code.
func run(ctx context.Context, args []string, std streams) int {
	var c cli
	c.std = std
	err := c.run(ctx, args)
	var ex exit
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &ex):
		if ex.message != "" {
			fmt.Fprintln(std.err, "rescind: "+ex.message)
		}
		return ex.code
	default:
		fmt.Fprintln(std.err, "rescind:", err)
		return exitFailed
	}
}

// helped ends a run in which kong printed help.
type helped struct{}

func (c *cli) run(ctx context.Context, args []string) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case helped:
			err = nil
		default:
			panic(r)
		}
	}()
	file, err := loadConfig(configPath(args))
	if err != nil {
		return usage("%v", err)
	}
	parser, err := kong.New(c, kong.Name("rescind"), kong.Description(description), kong.DefaultEnvars("RESCIND"),
		kong.Vars{"dir": defaultDir()}, kong.Writers(c.std.out, c.std.err), kong.Resolvers(file),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Exit(func(int) { panic(helped{}) }), kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		return fmt.Errorf("building the command line: %w", err)
	}
	if err := file.check(parser.Model); err != nil {
		return usage("%v", err)
	}
	c.file = file
	parsed, err := parser.Parse(args)
	if err != nil {
		return usage("%v (see rescind --help)", err)
	}
	if err := c.validate(); err != nil {
		return usage("%v", err)
	}
	return parsed.Run(&c.globals)
}

// defaultDir is where data lives when --dir says nothing: the user's data
// directory.
func defaultDir() string {
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "rescind")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "rescind")
	}
	return "/var/lib/rescind"
}

func (g *globals) logger() *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if g.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(g.std.err, opts))
	}
	return slog.New(slog.NewTextHandler(g.std.err, opts))
}

// path is a file in the data directory.
func (g *globals) path(name ...string) string {
	return filepath.Join(append([]string{g.Dir}, name...)...)
}

// shutdownTime bounds how long a server takes to finish its requests.
const shutdownTime = 10 * time.Second
