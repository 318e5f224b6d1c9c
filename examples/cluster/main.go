// Command cluster is examples/hub on several nodes: a client may be connected to any of them, and loses nothing when its node is
// gone. NATS with JetStream is between them, in the same processes or outside.
//
//	go -C examples/cluster run . -node a [-store DIR] [-cluster-listen HOST:PORT -cluster-peers HOST:PORT,…]
//	go -C examples/cluster run . -node a -nats URL
//
// It has the flags of examples/hub too. The README has three commands that start three nodes on one machine; docs/CLUSTER.md tells the rest.
package main

import "github.com/sockmill/sockmill/examples/hub/app"

func main() {
	app.Main("cluster", &cluster{})
}
