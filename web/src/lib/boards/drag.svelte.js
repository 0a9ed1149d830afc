// The topic that is being dragged from the drawer: a browser tells what is dragged only when it is dropped, and the board
// wants to show before that where it would lie.

export const TYPE = 'application/x-cork-topic';
export const dragged = $state({ source: null });
