"""What several tasks of this module need."""


def rows_of(data):
    return int(data.shape[0])
