package centrifugal

import (
	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// encode is hub.Config.Encode.
func encode(of int, channel string, p *broker.Publication) engine.Message {
	f := format(of)
	push, key := &cf.Push{Channel: channel}, ""
	switch {
	case channel == "": // for users or all
		push.Message = &cf.Message{Data: f.raw(p.Data)}
	case p.Kind == hub.KindJoin:
		push.Join = &cf.Join{Info: f.info(p.Info)}
	case p.Kind == hub.KindLeave:
		push.Leave = &cf.Leave{Info: f.info(p.Info)}
	default:
		push.Pub, key = f.publication(p), channel
	}
	m := f.message(f.append(nil, &cf.Reply{Push: push}))
	m.Key = key
	return m
}

func (f format) publication(p *broker.Publication) *cf.Publication {
	return &cf.Publication{Data: f.raw(p.Data), Info: f.info(p.Info), Offset: p.Offset, Tags: p.Tags}
}

func (f format) publications(all []broker.Publication) []*cf.Publication {
	out := make([]*cf.Publication, 0, len(all)) // clients of JSON do not expect null
	for i := range all {
		out = append(out, f.publication(&all[i]))
	}
	return out
}

func (f format) info(i *broker.Info) *cf.ClientInfo {
	if i == nil {
		return nil
	}
	return &cf.ClientInfo{User: i.User, Client: i.Client, ConnInfo: f.raw(i.Conn), ChanInfo: f.raw(i.Channel)}
}

func unsubscribePush(channel string, code protocol.CloseCode, reason string) *cf.Push {
	return &cf.Push{Channel: channel, Unsubscribe: &cf.Unsubscribe{Code: uint32(code), Reason: reason}}
}

// bytes is about how long publications get in a reply.
func bytesOf(all []broker.Publication) (n int) {
	for i := range all {
		p := &all[i]
		if n += 32 + len(p.Data); p.Info != nil {
			n += infoBytes(p.Info)
		}
		for k, v := range p.Tags {
			n += 8 + len(k) + len(v)
		}
	}
	return n
}

func infoBytes(i *broker.Info) int {
	return 64 + len(i.Client) + len(i.User) + len(i.Conn) + len(i.Channel)
}
