package bus

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

type config = jetstream.StreamConfig

// property is one thing about a stream that rescind relies on. The same table
// checks streams and mends them, so neither can know of a property that the
// other forgets.
type property struct {
	// name is the property's in the stream's JSON configuration.
	name  string
	show  func(*config) string
	holds func(have, want *config) bool
	mend  func(have, want *config)
}

var properties = []property{
	{"subjects", show(func(c *config) any { return c.Subjects }),
		func(have, want *config) bool { return slices.Equal(have.Subjects, want.Subjects) },
		func(have, want *config) { have.Subjects = want.Subjects }},
	exact("storage", func(c *config) *jetstream.StorageType { return &c.Storage }),
	exact("retention", func(c *config) *jetstream.RetentionPolicy { return &c.Retention }),
	exact("discard", func(c *config) *jetstream.DiscardPolicy { return &c.Discard }),
	exact("discard_new_per_subject", func(c *config) *bool { return &c.DiscardNewPerSubject }),
	exact("deny_delete", func(c *config) *bool { return &c.DenyDelete }),
	exact("deny_purge", func(c *config) *bool { return &c.DenyPurge }),
	exact("allow_direct", func(c *config) *bool { return &c.AllowDirect }),
	{"allow_atomic", show(func(c *config) any { return c.AllowAtomicPublish }),
		func(have, want *config) bool { return have.AllowAtomicPublish || !want.AllowAtomicPublish },
		func(have, _ *config) { have.AllowAtomicPublish = true }},
	exact("allow_rollup_hdrs", func(c *config) *bool { return &c.AllowRollup }),
	exact("allow_msg_ttl", func(c *config) *bool { return &c.AllowMsgTTL }),
	exact("no_ack", func(c *config) *bool { return &c.NoAck }),
	exact("sealed", func(c *config) *bool { return &c.Sealed }),
	// "async" turns the server's sync_interval: always off for the stream.
	exact("persist_mode", func(c *config) *jetstream.PersistModeType { return &c.PersistMode }),
	unlimited("max_msgs", func(c *config) *int64 { return &c.MaxMsgs }),
	unlimited("max_msgs_per_subject", func(c *config) *int64 { return &c.MaxMsgsPerSubject }),
	unlimited("max_msg_size", func(c *config) *int32 { return &c.MaxMsgSize }),
	{"max_age", show(func(c *config) any { return c.MaxAge }),
		func(have, want *config) bool { return have.MaxAge == 0 || have.MaxAge >= want.MaxAge },
		func(have, want *config) { have.MaxAge = want.MaxAge }},
	{"max_bytes", show(func(c *config) any { return c.MaxBytes }), bytesHold,
		func(have, want *config) { have.MaxBytes = want.MaxBytes }},
	{"duplicate_window", show(func(c *config) any { return c.Duplicates }),
		func(have, want *config) bool { return have.Duplicates >= want.Duplicates },
		func(have, want *config) { have.Duplicates = want.Duplicates }},
	{"num_replicas", show(func(c *config) any { return c.Replicas }),
		func(have, want *config) bool { return have.Replicas >= want.Replicas },
		func(have, want *config) { have.Replicas = want.Replicas }},
	{"republish", show(func(c *config) any { return republished(c) }),
		func(have, want *config) bool { return republished(have) == republished(want) },
		func(have, want *config) { have.RePublish = want.RePublish }},
	{"sources", show(func(c *config) any { return sourced(c) }),
		func(have, want *config) bool { return sourced(have) == sourced(want) },
		func(have, want *config) { have.Sources = want.Sources }},
	{"mirror", show(func(c *config) any { return c.Mirror != nil }),
		func(have, _ *config) bool { return have.Mirror == nil },
		func(have, _ *config) { have.Mirror = nil }},
	{"subject_transform", show(func(c *config) any { return c.SubjectTransform != nil }),
		func(have, _ *config) bool { return have.SubjectTransform == nil },
		func(have, _ *config) { have.SubjectTransform = nil }},
	{"metadata." + epochKey, show(func(c *config) any { return fmt.Sprintf("%q", c.Metadata[epochKey]) }),
		func(have, _ *config) bool { return have.Metadata[epochKey] != "" },
		func(have, _ *config) { stampEpoch(have) }},
}

func show(value func(*config) any) func(*config) string {
	return func(c *config) string { return fmt.Sprint(value(c)) }
}

func exact[T comparable](name string, field func(*config) *T) property {
	return property{name, show(func(c *config) any { return *field(c) }),
		func(have, want *config) bool { return *field(have) == *field(want) },
		func(have, want *config) { *field(have) = *field(want) }}
}

func unlimited[T cmp.Ordered](name string, field func(*config) *T) property {
	return property{name, show(func(c *config) any { return *field(c) }),
		func(have, _ *config) bool { var zero T; return *field(have) <= zero },
		func(have, want *config) { *field(have) = *field(want) }}
}

// bytesHold asks for a limit where one is wanted (a disk filled with lists would
// block rules too) and for none elsewhere.
func bytesHold(have, want *config) bool {
	if want.MaxBytes <= 0 {
		return have.MaxBytes <= 0
	}
	return have.MaxBytes >= want.MaxBytes
}

func republished(c *config) string {
	r := c.RePublish
	switch {
	case r == nil:
		return "none"
	case r.HeadersOnly:
		return r.Source + " to " + r.Destination + " without bodies"
	default:
		return r.Source + " to " + r.Destination
	}
}

// sourced spells a stream's sources, marked where one does not take everything.
func sourced(c *config) string {
	var names []string
	for _, s := range c.Sources {
		name := s.Name
		if s.FilterSubject != "" || len(s.SubjectTransforms) > 0 || s.External != nil ||
			s.OptStartSeq != 1 || s.OptStartTime != nil {
			name += " in part"
		}
		names = append(names, name)
	}
	if names == nil {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

const dedupeWindow = 2 * time.Minute
