// Package centrifugal serves the Centrifugal client protocol over WebSocket, in JSON and Protobuf, on a hub: the
// SDKs that exist for JavaScript, Swift, Java, Dart, Python, C# and Go work unchanged.
//
//	e, err := engine.New(engine.Config{}, engine.Handler{})
//	s, err := centrifugal.New(e, centrifugal.Config{
//		Tokens: tokens,
//		Hub: hub.Config{Channel: centrifugal.Namespaces(map[string]hub.Options{
//			"": {History: 100, Join: hub.Everybody, Publish: hub.Members},
//		})},
//	})
//	_, err = e.Listen(engine.Config{Addr: "ws://:8100", SlowCode: 3008}, s.Handler())
//	err = e.Run(ctx)
//
// # Commands
//
// A client connects, subscribes, unsubscribes, publishes, asks for presence, presence_stats and history, calls methods (rpc), sends
// messages (send), and refreshes its tokens (refresh, sub_refresh). What it may do, Config.Hub decides: its
// options and hooks. A hook that fails with an Error has the client told that; with a Disconnect, it closes the connection.
//
// A message may have many commands. They are carried out one after the other, off the loops, and answered in one message,
// but for a subscribe command, behind whose answer publications may come at once. If one of them is malformed, none is carried
// out, and the connection is closed with 3501. Meanwhile the connection is not read, so a client that waits for
// nothing waits for itself.
//
// A subscription to a channel with a history is always positioned and recoverable, and joins and leaves are told in each channel
// that has them, whatever the client asks for. Not there are maps, shared polls and filters of publications (error 108);
// delta compression, numbers for channels and dictionaries are asked for in vain.
//
// # Names of channels
//
// See Namespaces for "news:sport". A channel whose name begins with "$" needs a subscription token. A channel whose name
// ends with "#" and users, such as "chat#7,42", is for these users alone: they subscribe without a hook. A name has from 1 to
// 255 bytes of UTF-8 without control bytes; else it is error 107.
//
// # Subscriptions by the server
//
// The channels of a connection token, those of hub.Connect.Channels, and those of hub.Hub.Subscribe are joined for the client.
// What it has missed in those of the first two kinds is in the answer to its connect command; what is
// published later follows without a gap, or the connection is closed with 3010.
//
// # JSON and bytes
//
// A publication has bytes. Who speaks JSON gets them as they are if they are JSON, nested at most 512 deep, and otherwise as a string of
// base64.
//
// # Time
//
// A client is pinged every Config.PingInterval, and has Config.PongTimeout to answer. A connection whose token has expired is
// closed with 3005, Config.ExpiryGrace later, unless the client shows another token; a subscription ends with 2501.
//
// # Limits
//
// See Config. Beside them: a message that nests JSON deeper than 512 is malformed; answers of more than 64 KiB are
// sent before the other commands of their message are done; a token is good for a year at most.
package centrifugal
