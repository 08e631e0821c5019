package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
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
	flags map[string]flagValue
}

// structured are the keys that are not flags.
type structured struct {
	// Realms by name.
	Realms map[string]realm.Config `yaml:"realms"`
	// APIKeys and Users are the callers that the publisher knows.
	APIKeys []intake.APIKeyConfig `yaml:"api_keys"`
	Users   []intake.UserConfig   `yaml:"users"`
	// OAuthClients may revoke and introspect their own tokens.
	OAuthClients []intake.ClientConfig `yaml:"oauth_clients"`
	// TLSClients are callers who are known by their certificates.
	TLSClients []intake.TLSClientConfig `yaml:"tls_clients"`
	// SSFTransmitters are those whose security events are taken.
	SSFTransmitters []intake.TransmitterConfig `yaml:"ssf_transmitters"`
	// RateLimits are how often one caller may revoke.
	RateLimits intake.Limits `yaml:"rate_limits"`
	// AdminRealms are realms whose bearers of scope rescind:all may act on all
	// realms.
	AdminRealms []string `yaml:"admin_realms"`
	// Expect is how many agents of each service must be known.
	Expect map[string]int `yaml:"expect"`
}

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
	c := &fileConfig{path: path, flags: map[string]flagValue{}}
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
	doc := struct {
		structured `yaml:",inline"`
		Flags      map[string]yaml.Node `yaml:",inline"`
	}{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return plainYAML(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	for service, n := range doc.Expect {
		if n < 0 {
			return fmt.Errorf("expect: %s: must not be negative", service)
		}
	}
	c.structured = doc.structured
	for key, node := range doc.Flags {
		if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
			return fmt.Errorf("line %d: %s must be a single value", node.Line, key)
		}
		c.flags[key] = flagValue{node.Value, node.Line}
	}
	return nil
}

// unknownField is how the decoder names an unknown key: with a type of ours,
// which says nothing to the reader of the message.
var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// plainYAML puts a decoder's error on one line.
func plainYAML(err error) error {
	var list *yaml.TypeError
	if !errors.As(err, &list) {
		return err
	}
	return errors.New(unknownField.ReplaceAllString(strings.Join(list.Errors, "; "), "unknown key $1"))
}

// dir is where relative paths of the file begin.
func (c *fileConfig) dir() string {
	if c.path == "" {
		return "."
	}
	return filepath.Dir(c.path)
}

// wrong is the error for a file that reads well and says what cannot be.
func (c *fileConfig) wrong(err error) error {
	if c.path == "" {
		return err
	}
	return usage("configuration %s: %v", c.path, err)
}

// check refuses keys that are no flag of any command, and values that the flag
// would refuse.
func (c *fileConfig) check(app *kong.Application) error {
	flags := map[string][]*kong.Flag{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			flags[yamlKey(f.Name)] = append(flags[yamlKey(f.Name)], f)
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(app.Node)
	for _, key := range slices.Sorted(maps.Keys(c.flags)) {
		v := c.flags[key]
		if len(flags[key]) == 0 || key == "config" || key == "help" {
			return fmt.Errorf("configuration %s: line %d: unknown key %s", c.path, v.line, key)
		}
		for _, f := range flags[key] {
			if err := v.check(f); err != nil {
				return fmt.Errorf("configuration %s: line %d: %s: %w", c.path, v.line, key, err)
			}
		}
	}
	return nil
}

// flagValue is a flag's value in the file.
type flagValue struct {
	text string
	line int
}

func (v flagValue) check(f *kong.Flag) error {
	if f.Enum != "" && !slices.Contains(f.EnumSlice(), v.text) {
		return fmt.Errorf("must be one of %s, not %q", f.Enum, v.text)
	}
	scan := kong.Scan().PushTyped(v.text, kong.FlagValueToken)
	return f.Mapper.Decode(&kong.DecodeContext{Value: f.Value, Scan: scan}, reflect.New(f.Target.Type()).Elem())
}

// Validate is kong's; check did it.
func (c *fileConfig) Validate(*kong.Application) error { return nil }

// Resolve is kong's: it gives the value of a flag that is not on the command
// line. The environment is above the file.
func (c *fileConfig) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	if v, ok := c.flags[yamlKey(flag.Name)]; ok {
		return v.text, nil
	}
	return nil, nil
}

func yamlKey(flag string) string { return strings.ReplaceAll(flag, "-", "_") }
