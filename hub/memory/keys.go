package memory

import (
	"container/list"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// keys remembers the newest keys of Append, and the positions that they got.
type keys struct {
	cfg   *Config
	byKey map[channelKey]*list.Element
	byAge list.List // of *keyed, the oldest in front
}

type channelKey struct{ channel, key string }

type keyed struct {
	channelKey
	at    broker.Position
	since time.Duration
}

func (k *keys) init(cfg *Config) { k.cfg, k.byKey = cfg, map[channelKey]*list.Element{} }

// find returns the position of a key, and forgets a few keys that have expired.
func (k *keys) find(key channelKey, now time.Duration) (broker.Position, bool) {
	for range sweepSteps {
		if e := k.byAge.Front(); e != nil && now-e.Value.(*keyed).since >= k.cfg.KeyLifetime {
			k.remove(e)
		}
	}
	e := k.byKey[key]
	if e == nil {
		return broker.Position{}, false
	}
	if x := e.Value.(*keyed); now-x.since < k.cfg.KeyLifetime {
		return x.at, true
	}
	k.remove(e)
	return broker.Position{}, false
}

// add remembers a key that find did not find.
func (k *keys) add(key channelKey, at broker.Position, now time.Duration) {
	k.byKey[key] = k.byAge.PushBack(&keyed{key, at, now})
	if k.byAge.Len() > k.cfg.KeysMax {
		k.remove(k.byAge.Front())
	}
}

func (k *keys) remove(e *list.Element) { delete(k.byKey, k.byAge.Remove(e).(*keyed).channelKey) }
