function arrays = read_npz(path)
% READ_NPZ  The arrays of an .npz file, as latents.npz, in MATLAB and Octave.
%   z = read_npz('latents.npz'); plot(z.encoder_mean(:, 1), z.encoder_mean(:, 2), '.')
%   Numbers come as double, with the axes NumPy shows (one axis: a column); texts as a cell array.
folder = tempname();
mkdir(folder);
unzip(path, folder);
files = dir(fullfile(folder, '*.npy'));
arrays = struct();
for i = 1:numel(files)
  [~, name] = fileparts(files(i).name);
  arrays.(name) = read_npy(fullfile(folder, files(i).name));
  delete(fullfile(folder, files(i).name));
end
rmdir(folder);
end

function values = read_npy(path)
file = fopen(path, 'r', 'ieee-le');
magic = fread(file, 8, 'uint8');
length_types = {'uint16', 'uint32'};
header = fread(file, fread(file, 1, length_types{min(magic(7), 2)}), '*char')';
type = regexp(header, '''descr'': ''[<|](\w)(\d+)''', 'tokens', 'once');
shape = str2double(regexp(regexp(header, '\([^)]*\)', 'match', 'once'), '\d+', 'match'));
names = struct('f4', 'single', 'f8', 'double', 'i1', 'int8', 'i2', 'int16', 'i4', 'int32', 'i8', 'int64', ...
               'u1', 'uint8', 'u2', 'uint16', 'u4', 'uint32', 'u8', 'uint64', 'b1', 'uint8');
if type{1} == 'U'  % texts of four bytes a character
  codes = reshape(fread(file, inf, 'uint32'), str2double(type{2}), []);
  values = cell(size(codes, 2), 1);
  for i = 1:size(codes, 2)
    values{i} = char(codes(codes(:, i) > 0, i)');
  end
elseif isempty(strfind(header, '''fortran_order'': True'))  % NumPy counts the last axis fastest, MATLAB the first
  values = fread(file, inf, names.([type{1} type{2}]));
  if numel(shape) > 1
    values = permute(reshape(values, fliplr(shape)), numel(shape):-1:1);
  end
else
  values = reshape(fread(file, inf, names.([type{1} type{2}])), [shape, 1]);
end
fclose(file);
end
