package sidecar

import (
	"math"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/subscriber"
)

// metrics are what /metrics gives: what the sidecar counts, and the agent's own
// figures, read when they are asked for.
type metrics struct {
	registry *prometheus.Registry
	// checks are the counters by result: looking up a label at each request costs
	// more than the check.
	checks                 map[string]prometheus.Counter
	introspections         *prometheus.CounterVec
	cacheHits, cacheMisses prometheus.Counter
	observed               prometheus.Counter
	watchers               prometheus.Gauge
}

func newMetrics(agent *subscriber.Agent, version string, cache *tokenCache) *metrics {
	checks := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_agent_checks_total",
		Help: "Requests to /check, by result."}, []string{"result"})
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_agent_token_cache_lookups_total",
		Help: "Tokens looked up in the cache of read tokens, by result."}, []string{"result"})
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		checks:    map[string]prometheus.Counter{},
		cacheHits: lookups.WithLabelValues("hit"), cacheMisses: lookups.WithLabelValues("miss"),
		introspections: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rescind_agent_introspections_total",
			Help: "Requests to /introspect, by result."}, []string{"result"}),
		observed: prometheus.NewCounter(prometheus.CounterOpts{Name: "rescind_agent_observed_total",
			Help: "Live tokens taken by /observe."}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "rescind_agent_watchers",
			Help: "Open streams of /v1/watch."}),
	}
	// A series that appears only with its first event has no rate then.
	for _, r := range results {
		m.checks[r] = checks.WithLabelValues(r)
	}
	for _, r := range []string{"active", "inactive", "error"} {
		m.introspections.WithLabelValues(r)
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rescind_build_info",
		Help: "Always 1; the label says the version.", ConstLabels: prometheus.Labels{"version": version}},
		func() float64 { return 1 })
	m.registry.MustRegister(checks, lookups, m.introspections, m.observed, m.watchers, build, agentCollector{agent}, cacheCollector{cache},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// agentCollector gives the agent's status as metrics.
type agentCollector struct{ agent *subscriber.Agent }

var (
	stateDesc = prometheus.NewDesc("rescind_agent_state",
		"1 for the agent's state, 0 for the others.", []string{"state"}, nil)
	stalenessDesc = prometheus.NewDesc("rescind_agent_staleness_seconds",
		"How old the agent's knowledge is; +Inf when nothing is known for certain.", nil, nil)
	readyDesc = prometheus.NewDesc("rescind_agent_ready",
		"1 once the agent held a complete set.", nil, nil)
	entriesDesc = prometheus.NewDesc("rescind_agent_entries",
		"Entries of the agent's set.", nil, nil)
	lagDesc = prometheus.NewDesc("rescind_agent_lag_events",
		"Events that the agent knows of and has not applied.", nil, nil)
	parkedDesc = prometheus.NewDesc("rescind_agent_parked_events",
		"Events that are kept because they cannot be read yet.", nil, nil)
	rejectedDesc = prometheus.NewDesc("rescind_agent_rejected_total",
		"Messages refused since the start, by reason.", []string{"reason"}, nil)
	positionDesc = prometheus.NewDesc("rescind_agent_position",
		"Sequence up to which a stream is applied and on disk.", []string{"stream"}, nil)
	diskDesc = prometheus.NewDesc("rescind_agent_disk_failing",
		"1 while the agent's file cannot be written.", nil, nil)
)

var states = []events.State{events.Unsynced, events.Rebuilding, events.Syncing, events.Fresh, events.Stale, events.Untrusted}

// Describe tells prometheus what Collect gives.
func (agentCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{stateDesc, stalenessDesc, readyDesc, entriesDesc, lagDesc, parkedDesc,
		rejectedDesc, positionDesc, diskDesc} {
		ch <- d
	}
}

// Collect reads the agent's status.
func (c agentCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.agent.Status()
	for _, state := range states {
		gauge(stateDesc, one(s.State == state), string(state))
	}
	staleness := math.Inf(1)
	if d := c.agent.Staleness(); d != unknownStaleness {
		staleness = d.Seconds()
	}
	gauge(stalenessDesc, staleness)
	gauge(readyDesc, one(c.agent.Ready()))
	gauge(entriesDesc, float64(s.Entries))
	gauge(lagDesc, float64(s.Lag))
	gauge(parkedDesc, float64(s.Parked))
	gauge(diskDesc, one(s.Disk != ""))
	for reason, n := range s.Rejected {
		ch <- prometheus.MustNewConstMetric(rejectedDesc, prometheus.CounterValue, float64(n), reason)
	}
	for stream, p := range s.Positions {
		gauge(positionDesc, float64(p.Seq), string(stream))
	}
}

// cacheCollector gives the size of the cache as metrics.
type cacheCollector struct{ cache *tokenCache }

var (
	cacheEntriesDesc = prometheus.NewDesc("rescind_agent_token_cache_entries",
		"Tokens of which is kept what reading them gave.", nil, nil)
	cacheBytesDesc = prometheus.NewDesc("rescind_agent_token_cache_bytes",
		"About what the cache of read tokens takes in memory.", nil, nil)
)

// Describe tells prometheus what Collect gives.
func (cacheCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- cacheEntriesDesc
	ch <- cacheBytesDesc
}

// Collect reads the cache's size.
func (c cacheCollector) Collect(ch chan<- prometheus.Metric) {
	tokens, bytes := c.cache.size()
	ch <- prometheus.MustNewConstMetric(cacheEntriesDesc, prometheus.GaugeValue, float64(tokens))
	ch <- prometheus.MustNewConstMetric(cacheBytesDesc, prometheus.GaugeValue, float64(bytes))
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
