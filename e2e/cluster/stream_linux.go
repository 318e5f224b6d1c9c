package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// atStreams calls f with the streams of the cluster, asked at a host.
func (h *host) atStreams(ctx context.Context, f func(ctx context.Context, js jetstream.JetStream, streams []*jetstream.StreamInfo) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nc, err := nats.Connect(h.nats())
	if err != nil {
		return fmt.Errorf("%s: %w", h.nats(), err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	var streams []*jetstream.StreamInfo
	list := js.ListStreams(ctx)
	for s := range list.Info() {
		streams = append(streams, s)
	}
	if err := list.Err(); err != nil {
		return err
	}
	if len(streams) == 0 {
		return errors.New("there is no stream")
	}
	return f(ctx, js, streams)
}

// leader returns the host that leads the first stream.
func (l *lab) leader(ctx context.Context) (leader *host, err error) {
	err = l.hosts[0].atStreams(ctx, func(_ context.Context, _ jetstream.JetStream, streams []*jetstream.StreamInfo) error {
		i := slices.IndexFunc(l.hosts, func(h *host) bool { return streams[0].Cluster != nil && h.name == streams[0].Cluster.Leader })
		if i < 0 {
			return fmt.Errorf("%s has no leader", streams[0].Config.Name)
		}
		leader = l.hosts[i]
		return nil
	})
	return leader, err
}

// inSync waits until each node has all of each stream: else the next fault would be two at once.
func (l *lab) inSync(ctx context.Context, within time.Duration) error {
	return until(ctx, within, func() (waiting string, ok bool) {
		err := l.hosts[0].atStreams(ctx, func(_ context.Context, _ jetstream.JetStream, streams []*jetstream.StreamInfo) error {
			for _, s := range streams {
				if s.Cluster == nil || s.Cluster.Leader == "" || len(s.Cluster.Replicas) != len(l.hosts)-1 {
					return fmt.Errorf("%s has no leader, or not all replicas", s.Config.Name)
				}
				for _, r := range s.Cluster.Replicas {
					if !r.Current || r.Offline {
						return fmt.Errorf("the replica of %s at %s is behind by %d", s.Config.Name, r.Name, r.Lag)
					}
				}
			}
			return nil
		})
		return fmt.Sprint("not in sync: ", err), err == nil
	})
}

// killLeader kills the host that leads the stream, whichever was chosen.
func killLeader(ctx context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
	leader, err := h.lab.leader(ctx)
	if err != nil {
		return "", nil, err
	}
	leader.kill()
	return "SIGKILL for " + leader.name + ", which leads the stream", func(context.Context) error { return leader.start() }, nil
}

// deleteStreams deletes all streams.
func deleteStreams(ctx context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
	var names []string
	err := h.atStreams(ctx, func(ctx context.Context, js jetstream.JetStream, streams []*jetstream.StreamInfo) error {
		for _, s := range streams {
			if err := js.DeleteStream(ctx, s.Config.Name); err != nil {
				return fmt.Errorf("%s: %w", s.Config.Name, err)
			}
			names = append(names, s.Config.Name)
		}
		return nil
	})
	return "the stream is deleted: " + strings.Join(names, ", "), func(context.Context) error { return nil }, err
}
