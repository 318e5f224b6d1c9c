package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
)

// duplicates is how long a stream remembers the keys of Append.
const duplicates = 2 * time.Minute

// streamFormat is the version of what is in the streams: subjects and records.
const streamFormat = 1

// How long New and watch wait between two attempts to have a stream, and how often New says why it waits.
const (
	ensureWait     = 100 * time.Millisecond
	ensureWithin   = time.Second // of one attempt: while a cluster begins, a question may get lost
	ensureProgress = 2 * time.Second
	noServiceWait  = 2 * time.Second // for JetStream in a server that has just started
)

// part is a part of the channels and their stream. The name of the stream is the epoch of all these channels. Two streams
// cannot have the same subjects, so there is one at a time, whoever makes it.
type part struct {
	b       *Broker
	n       int
	name    atomic.Pointer[string]
	down    atomic.Bool   // the leader of the stream could not be reached when it was asked the last two times
	since   atomic.Int64  // when the name was learned, in Unix nanoseconds
	woken   chan struct{} // something is to be looked at now
	making  chan struct{} // has an element while somebody makes or finds the stream
	looking chan struct{} // has an element while somebody asks for the state
	topping chan struct{} // has an element while somebody asks for the newest positions

	mu   sync.Mutex      // guards what follows
	next *look           // the question that has not been asked yet
	tops []*tops         // those that have not been asked yet
	high broker.Position // the last of the stream that this node has heard of

	// Only for compare.
	comparing string // the stream that the following is of
	compared  uint64 // everything up to here was compared
	marks     []mark
}

func newPart(b *Broker, n int) *part {
	return &part{b: b, n: n, woken: make(chan struct{}, 1), making: make(chan struct{}, 1), looking: make(chan struct{}, 1), topping: make(chan struct{}, 1)}
}

func (p *part) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *part) stream() string { return *p.name.Load() }

func (p *part) subjects(kind string) string {
	return p.b.cfg.Prefix + "." + kind + "." + strconv.Itoa(p.n) + ".*.*"
}

// config is how the stream must be. What is stored of a channel is always its newest part, without holes: nothing can be removed from
// it but by the limits, which begin with the oldest. The proofs in history_read.go rest on that.
func (p *part) config() jetstream.StreamConfig {
	c := &p.b.cfg
	storage := jetstream.FileStorage
	if c.InMemory {
		storage = jetstream.MemoryStorage
	}
	return jetstream.StreamConfig{
		Name:      fmt.Sprintf("%s-%d-%s", c.Prefix, p.n, strconv.FormatUint(rand.Uint64(), 36)),
		Subjects:  []string{p.subjects("h"), p.subjects("r")},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: storage, Replicas: c.Replicas,
		MaxMsgs: -1, MaxMsgSize: -1, MaxConsumers: -1, MaxBytes: c.BytesMax, MaxAge: c.Lifetime,
		MaxMsgsPerSubject: int64(c.Publications) + 1, // the one before tells that nothing is missing
		Duplicates:        min(duplicates, c.Lifetime),
		AllowDirect:       true, DenyDelete: true, DenyPurge: true,
		RePublish: &jetstream.RePublish{Source: p.subjects("h"), Destination: c.Prefix + ".l.{{wildcard(1)}}.{{wildcard(2)}}"},
		Metadata:  map[string]string{"sockmill-format": strconv.Itoa(streamFormat), "sockmill-shards": strconv.Itoa(c.Shards), "sockmill-streams": strconv.Itoa(c.Streams)},
	}
}

// setting is something that a stream must have.
type setting struct {
	name, of   string // of the stream, and of Config; empty: it cannot be set
	have, want any
}

func settings(have, want *jetstream.StreamConfig) []setting {
	all := []setting{
		{"subjects", "Prefix", have.Subjects, want.Subjects},
		{"retention", "", have.Retention, want.Retention},
		{"discard", "", have.Discard, want.Discard},
		{"storage", "InMemory", have.Storage, want.Storage},
		{"num_replicas", "Replicas", have.Replicas, want.Replicas},
		{"max_msgs", "", have.MaxMsgs, want.MaxMsgs},
		{"max_msg_size", "", have.MaxMsgSize, want.MaxMsgSize},
		{"max_bytes", "BytesMax", have.MaxBytes, want.MaxBytes},
		{"max_age", "Lifetime", have.MaxAge, want.MaxAge},
		{"max_msgs_per_subject", "Publications (one less)", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject},
		{"duplicate_window", "", have.Duplicates, want.Duplicates},
		{"allow_direct", "", have.AllowDirect, want.AllowDirect},
		{"deny_delete", "", have.DenyDelete, want.DenyDelete},
		{"deny_purge", "", have.DenyPurge, want.DenyPurge},
		{"allow_rollup_hdrs", "", have.AllowRollup, want.AllowRollup},
		{"allow_msg_ttl", "", have.AllowMsgTTL, want.AllowMsgTTL},
		{"no_ack", "", have.NoAck, want.NoAck},
		{"sealed", "", have.Sealed, want.Sealed},
		{"mirror", "", have.Mirror != nil, false},
		{"sources", "", len(have.Sources), 0},
		{"subject_transform", "", have.SubjectTransform != nil, false},
		{"metadata sockmill-format", "", have.Metadata["sockmill-format"], want.Metadata["sockmill-format"]},
		{"metadata sockmill-shards", "Shards", have.Metadata["sockmill-shards"], want.Metadata["sockmill-shards"]},
		{"metadata sockmill-streams", "Streams", have.Metadata["sockmill-streams"], want.Metadata["sockmill-streams"]},
	}
	republish := jetstream.RePublish{}
	if have.RePublish != nil {
		republish = *have.RePublish
	}
	return append(all, setting{"republish", "Prefix", republish, *want.RePublish})
}

// configError says what a stream has that it must not have.
type configError struct{ text string }

func (e *configError) Error() string { return e.text }

// check fails with a configError if a stream is not as it must be.
func (p *part) check(have *jetstream.StreamConfig) error {
	want := p.config()
	if !strings.HasPrefix(have.Name, p.b.cfg.Prefix+"-") || have.Metadata["sockmill-format"] == "" {
		return &configError{fmt.Sprintf("nats: the stream %q has the subjects %q, but is not one of this program: set Config.Prefix to another value, or delete that stream", have.Name, have.Subjects)}
	}
	for _, s := range settings(have, &want) {
		if fmt.Sprint(s.have) == fmt.Sprint(s.want) {
			continue
		}
		remedy := "change the stream"
		if s.of != "" {
			remedy = "set Config." + s.of + " to what the stream has, change the stream"
		}
		return &configError{fmt.Sprintf("nats: the stream %q has %s %v, and this node wants %v: %s (with the program nats: nats stream edit), or delete it and with it all histories",
			have.Name, s.name, s.have, s.want, remedy)}
	}
	return nil
}

// ensure finds the stream or makes it. It waits for JetStream to be ready until ctx ends, and says so to the logger. With an error that waiting
// does not help against, it fails at once.
func (p *part) ensure(ctx context.Context) error {
	select {
	case p.making <- struct{}{}:
		defer func() { <-p.making }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began, told := time.Now(), time.Now()
	for {
		err := p.findOrMake(ctx)
		if err == nil || p.hopeless(err, time.Since(began)) {
			return err
		}
		if time.Since(told) >= ensureProgress {
			told = time.Now()
			p.b.log.Info("waiting for JetStream", zap.Int("part", p.n), zap.Duration("since", time.Since(began).Round(time.Second)), zap.Error(err))
		}
		if e := p.b.pause(ctx, ensureWait); e != nil {
			return fmt.Errorf("nats: no stream for part %d: %w: %w", p.n, e, err)
		}
	}
}

// hopeless reports whether it is no use to try again.
func (p *part) hopeless(err error, since time.Duration) bool {
	var c *configError
	var api *jetstream.APIError
	switch {
	case errors.As(err, &c), errors.Is(err, broker.ErrClosed), errors.Is(err, errNoJetStreamForAccount):
		return true
	case errors.Is(err, errNoJetStream):
		return since >= noServiceWait
	case errors.As(err, &api):
		switch api.ErrorCode {
		case codeReplicas, codeResources, codeNoMemory, codeNoStorage:
			return true
		case codeOverlap, codeNoPeers, jetstream.JSErrCodeStreamNameInUse:
			return false
		}
		return api.Code == 400
	}
	return false
}

var (
	errNoJetStream           = errors.New("nats: the server has no JetStream: start it with JetStream (nats-server -js), or set Config.NoHistory")
	errNoJetStreamForAccount = errors.New("nats: the account has no JetStream: give it some (in the server's configuration: jetstream: enabled), or set Config.NoHistory")
)

// findOrMake is one attempt.
func (p *part) findOrMake(ctx context.Context) error {
	c, cancel := context.WithTimeout(ctx, min(p.b.cfg.PublishTimeout, ensureWithin))
	defer cancel()
	s, err := p.find(c)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		cfg := p.config()
		if _, err = p.b.history.js.CreateStream(c, cfg); err != nil {
			return p.explained(err) // with codeOverlap, somebody else was first
		}
		p.b.history.made.Add(1)
		p.b.log.Info("made a stream", zap.String("stream", cfg.Name))
		s, err = p.find(c)
	}
	if err == nil {
		err = p.check(&s.Config)
	}
	if err != nil {
		return p.explained(err)
	}
	p.is(s.Config.Name)
	return nil
}

// find returns the stream of the part. Two nodes that make it at the same moment may each have made one, and then everybody removes the same one of them.
func (p *part) find(ctx context.Context) (*jetstream.StreamInfo, error) {
	js := p.b.history.js
	names := js.StreamNames(ctx, jetstream.WithStreamListSubject(p.subjects("h")))
	var all []*jetstream.StreamInfo
	for name := range names.Name() {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, s.CachedInfo())
	}
	if err := names.Err(); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, jetstream.ErrStreamNotFound
	}
	slices.SortFunc(all, func(a, b *jetstream.StreamInfo) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Config.Name, b.Config.Name))
	})
	for _, s := range all[1:] {
		if p.check(&s.Config) == nil { // one of ours
			if err := js.DeleteStream(ctx, s.Config.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil, err
			}
			p.b.log.Info("removed a stream that was made at the same moment as another one", zap.String("stream", s.Config.Name))
		}
	}
	return all[0], nil
}

func (p *part) explained(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, natsgo.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return errNoJetStream
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return errNoJetStreamForAccount
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &api) && api.ErrorCode == codeUnavailable:
		return errors.New("nats: JetStream does not answer: it has no leader, or the stream has none")
	case api != nil:
		return fmt.Errorf("nats: the stream of part %d cannot be had: %w", p.n, err)
	}
	return p.b.failed(err)
}

// is notes the name of the stream. If it was another one, all positions of before are worth nothing, and all who follow a channel are told.
func (p *part) is(name string) {
	p.since.Store(time.Now().UnixNano())
	old := p.name.Swap(&name)
	if old == nil || *old == name {
		return
	}
	p.b.log.Warn("the stream is gone, and there is another one: what clients have missed cannot be recovered", zap.String("gone", *old), zap.String("stream", name))
	p.b.interruptAll()
}

func (p *part) fresh() bool { return time.Since(time.Unix(0, p.since.Load())) < freshFor }

// watch sees to it that the stream is there, says in Health if it is not, and compares.
func (p *part) watch(ctx context.Context) {
	often, compare := time.NewTicker(watchInterval), time.NewTicker(p.b.cfg.CompareEvery)
	defer often.Stop()
	defer compare.Stop()
	failed := false
	for {
		compares := true
		select {
		case <-ctx.Done():
			return
		case <-often.C:
			compares = false
		case <-compare.C:
		case <-p.woken:
		}
		s, err := p.reach(ctx)
		fails := err != nil && !errors.Is(err, errBehind)
		p.down.Store(fails && failed) // one answer that is slow means little
		failed = fails
		if err == nil && compares {
			err = p.compare(ctx)
		}
		if err == nil {
			err = p.recheck(&s)
		}
		if ctx.Err() == nil && p.b.health.set("stream "+strconv.Itoa(p.n), err) {
			if err != nil {
				p.b.log.Warn("a stream is not as it must be", zap.Int("part", p.n), zap.Error(err))
			} else {
				p.b.log.Info("the stream is as it must be again", zap.Int("part", p.n))
			}
		}
		if err != nil {
			_ = p.b.pause(ctx, ensureWait) // whoever wakes it does so again and again
		}
		if fails {
			p.wake() // so that it is soon noticed that it is back
		}
	}
}

// recheck checks the stream while the node runs: somebody may have changed it.
func (p *part) recheck(s *state) error {
	c, err := s.config()
	if err == nil {
		err = p.check(c)
	}
	return err
}

// reach fails if the leader of the stream cannot be reached. A stream that is gone is made again.
func (p *part) reach(ctx context.Context) (state, error) {
	s, err := p.look(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = p.again(ctx); err == nil {
			s, err = p.look(ctx)
		}
	}
	if err != nil {
		err = fmt.Errorf("nats: the stream of part %d: %w", p.n, err)
	}
	return s, err
}
