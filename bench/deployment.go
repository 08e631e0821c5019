package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// module is what the bench measures.
const module = "github.com/rescind/rescind"

var building sync.Mutex

// build gives the path of a program: "rescind", or one below bench/cmd. It is
// built once.
func (c *Config) build(ctx context.Context, name string) (string, error) {
	building.Lock()
	defer building.Unlock()
	path := filepath.Join(c.Dir, "bin", name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	in, pkg := ".", module+"/bench/cmd/"+name
	if name == "rescind" {
		// The module's own go.mod says what its program is built with.
		dir, err := moduleDir(ctx)
		if err != nil {
			return "", err
		}
		in, pkg = dir, "./cmd/rescind"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Dir = in
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the README installs it
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", name, err, out)
	}
	return path, nil
}

// moduleDir is where rescind's source is.
func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// deployment is NATS with the streams and a publisher that beats once a second,
// each a process of the rescind binary.
type deployment struct {
	rescind, dir, url string
	server            *process
	started           []io.Closer
}

func deploy(ctx context.Context, c *Config) (*deployment, error) {
	path, err := c.build(ctx, "rescind")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.Dir, "deployment-")
	if err != nil {
		return nil, err
	}
	d := &deployment{rescind: path, dir: dir}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *deployment) start(ctx context.Context) (err error) {
	if err := d.command(ctx, "keys", "new", "--id", "bench"); err != nil {
		return err
	}
	var up struct{ NATS string }
	if d.server, err = d.serve(ctx, &up, "nats", "--nats-listen", "127.0.0.1:0"); err != nil {
		return err
	}
	d.url = up.NATS
	if err := d.command(ctx, "streams", "apply", "--nats", d.url); err != nil {
		return err
	}
	_, err = d.serve(ctx, nil, "publisher", "--nats", d.url, "--listen", "127.0.0.1:0")
	return err
}

// command runs a command of rescind to its end.
func (d *deployment) command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, d.rescind, append(args, "--dir", d.dir, "--json")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("rescind %s: %w: %s", args[0], err, out)
	}
	return nil
}

// serve starts a command of rescind that runs until Close.
func (d *deployment) serve(ctx context.Context, up any, args ...string) (*process, error) {
	p, err := startProcess(ctx, d.rescind, append(args, "--dir", d.dir, "--json")...)
	if err != nil {
		return nil, err
	}
	d.started = append(d.started, p)
	if err := p.hear(up); err != nil {
		return nil, fmt.Errorf("rescind %s: %w", args[0], err)
	}
	return p, nil
}

// keys is the file with the publisher's public key.
func (d *deployment) keys() string { return filepath.Join(d.dir, "publishers.jwks") }

// agentDir makes a directory for an agent, with a copy of the stock's denylist.
func (d *deployment) agentDir(c *Config, s stock, parts ...string) (string, error) {
	from, err := c.stocked(s)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(d.dir, "agent-")
	if err != nil {
		return "", err
	}
	to := filepath.Join(append([]string{dir}, parts...)...)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return "", err
	}
	return dir, nil
}

// Close ends all processes.
func (d *deployment) Close() error { return closeAll(d.started) }
