package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
	"go.yaml.in/yaml/v3"
)

// fileConfig is rescind.yaml: what has no flag, and values for the flags under
// their names with _ for -. Unknown keys are errors.
type fileConfig struct {
	path string
	structured
	flags map[string]string
	keys  []string
}

// structured are the keys that are not flags.
type structured struct {
	// Realms by name.
	Realms map[string]realm.Config `yaml:"realms"`
	// APIKeys and Users are the callers that the publisher knows.
	APIKeys []intake.APIKeyConfig `yaml:"api_keys"`
	Users   []intake.UserConfig   `yaml:"users"`
	// AdminRealms are realms whose bearers of scope rescind:all may act on all
	// realms.
	AdminRealms []string `yaml:"admin_realms"`
	// Expect is how many agents of each service must be known.
	Expect map[string]int `yaml:"expect"`
}

var structuredKeys = []string{"realms", "api_keys", "users", "admin_realms", "expect"}

// configPath finds the configuration file: --config, RESCIND_CONFIG, or the first
// default that exists.
func configPath(args []string) (path string, must bool) {
	for i, a := range args {
		if a == "--config" && i+1 < len(args) {
			return args[i+1], true
		}
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v, true
		}
		if a == "--" {
			break
		}
	}
	if v := os.Getenv("RESCIND_CONFIG"); v != "" {
		return v, true
	}
	for _, p := range []string{"rescind.yaml", "/etc/rescind/rescind.yaml"} {
		if _, err := os.Stat(p); err == nil {
			return p, true
		}
	}
	return "", false
}

func loadConfig(path string, must bool) (*fileConfig, error) {
	c := &fileConfig{path: path, flags: map[string]string{}}
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && !must {
			return c, nil
		}
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := c.parse(data); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func (c *fileConfig) parse(data []byte) error {
	var doc map[string]yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return err
	}
	rest := map[string]*yaml.Node{}
	for key, node := range doc {
		if contains(structuredKeys, key) {
			rest[key] = &node
			continue
		}
		if node.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: %s must be a single value", node.Line, key)
		}
		c.flags[key] = node.Value
		c.keys = append(c.keys, key)
	}
	// A second pass over the structured part alone, with unknown fields refused.
	b, err := yaml.Marshal(rest)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	return dec.Decode(&c.structured)
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// dir is where relative paths of the file begin.
func (c *fileConfig) dir() string {
	if c.path == "" {
		return "."
	}
	return filepath.Dir(c.path)
}

// Validate is kong's: it refuses keys that are no flag of any command.
func (c *fileConfig) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			known[yamlKey(f.Name)] = true
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	for _, key := range c.keys {
		if !known[key] || key == "config" || key == "help" {
			return fmt.Errorf("configuration %s: unknown key %s", c.path, key)
		}
	}
	return nil
}

// Resolve is kong's: it gives a flag's value.
func (c *fileConfig) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if v, ok := c.flags[yamlKey(flag.Name)]; ok {
		return v, nil
	}
	return nil, nil
}

func yamlKey(flag string) string { return strings.ReplaceAll(flag, "-", "_") }
