package engine
var floodAttacks, socketAttacks, callbackAttacks []hostile
